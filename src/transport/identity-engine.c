/* The engine "pkcs11" of libp11: OpenSSL 3 calls engines deprecated, and Debian 12 has no other way to a token. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include <errno.h>
#include <openssl/engine.h>
#include <openssl/ui.h>

#include "identity-private.h"

static void ui_method_freep(UI_METHOD **method)
{
        UI_destroy_method(*method);
}

/*
 * Ready for use, which engine_close() ends. The engine keeps what it was told for good, so it is told all of it each
 * time; and without an interface of ours it would ask for a PIN on the terminal.
 */
static ENGINE *engine_open(IdentitySource *source, UI_METHOD *ui)
{
        ENGINE *engine = ENGINE_by_id("pkcs11");

        if (!engine)
                return NULL;
        if ((!source->module[0] || ENGINE_ctrl_cmd_string(engine, "MODULE_PATH", source->module, 0) == 1) &&
            (!source->has_pin || ENGINE_ctrl_cmd_string(engine, "PIN", source->pin, 0) == 1) &&
            ENGINE_ctrl_cmd(engine, "SET_USER_INTERFACE", 0, ui, NULL, 1) == 1 &&
            ENGINE_ctrl_cmd(engine, "SET_CALLBACK_DATA", 0, source, NULL, 1) == 1 && ENGINE_init(engine) == 1)
                return engine;
        ENGINE_free(engine);
        return NULL;
}

static void engine_close(ENGINE *engine)
{
        (void)ENGINE_ctrl_cmd(engine, "SET_USER_INTERFACE", 0, NULL, NULL, 1);
        (void)ENGINE_ctrl_cmd(engine, "SET_CALLBACK_DATA", 0, NULL, NULL, 1);
        (void)ENGINE_finish(engine);
        (void)ENGINE_free(engine);
}

int identity_engine_load_key(IdentitySource *source, EVP_PKEY **ret)
{
        _cleanup_(ui_method_freep) UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(identity_answer_pin, 0);
        ENGINE *engine = ui ? engine_open(source, ui) : NULL;

        if (!engine)
                return -ENOPKG;
        *ret = ENGINE_load_private_key(engine, source->uri, ui, source);
        engine_close(engine);
        return 0;
}

int identity_engine_load_certificate(IdentitySource *source, X509 **ret)
{
        _cleanup_(ui_method_freep) UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(identity_answer_pin, 0);
        struct {
                const char *uri;
                X509 *certificate;
        } wanted = {.uri = source->uri}; /* libp11: src/eng_back.c, CMD_LOAD_CERT_CTRL */
        ENGINE *engine = ui ? engine_open(source, ui) : NULL;

        if (!engine)
                return -ENOPKG;
        (void)ENGINE_ctrl_cmd(engine, "LOAD_CERT_CTRL", 0, &wanted, NULL, 1);
        engine_close(engine);
        *ret = wanted.certificate;
        return 0;
}
