/*
 * The way to the broker, as far as it can be gone without being otad: name, TCP, TLS with the device's certificate. Not
 * MQTT: a second client of the same name would throw otad out.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/file-util.h"
#include "base/time-util.h"
#include "check.h"
#include "transport/identity.h"
#include "transport/resolver.h"
#include "trust/trust-store.h"

#define LOOK_UP_USEC   (10 * USEC_PER_SEC)
#define CONNECT_USEC   (5 * USEC_PER_SEC) /* each address */
#define HANDSHAKE_USEC (10 * USEC_PER_SEC)

enum { WHY_MAX = 256, ALPN_PORT = 443 };

static const char subject[] = "broker";
/* AWS IoT Core Developer Guide, "Protocols, port mappings and authentication": ALPN on port 443. */
static const unsigned char alpn[] = "\x0ex-amzn-mqtt-ca";

typedef struct Answer {
        sd_event *event;
        ResolvedAddress addresses[RESOLVER_ADDRESSES_MAX];
        size_t n_addresses;
        char why[WHY_MAX];
} Answer;

static void context_freep(SSL_CTX **context)
{
        SSL_CTX_free(*context);
}

static void ssl_freep(SSL **ssl)
{
        SSL_free(*ssl);
}

static void on_resolved(Resolver *resolver, int error, const char *problem, const ResolvedAddress *addresses,
                        size_t n_addresses, void *userdata)
{
        Answer *answer = userdata;

        snprintf(answer->why, sizeof(answer->why), "%s", problem ?: "");
        answer->n_addresses = MIN2(n_addresses, (size_t)RESOLVER_ADDRESSES_MAX);
        if (answer->n_addresses > 0)
                memcpy(answer->addresses, addresses, answer->n_addresses * sizeof(addresses[0]));
        (void)sd_event_exit(answer->event, 0);
}

static bool look_up(const char *name, Answer *answer)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(resolver_freep) Resolver *resolver = NULL;
        ResolverParams params = {.name = name, .timeout_usec = LOOK_UP_USEC};
        int r;

        r = sd_event_new(&event);
        answer->event = event;
        if (r >= 0)
                r = resolver_start(event, &params, on_resolved, answer, &resolver);
        if (r >= 0)
                r = sd_event_loop(event);
        if (r < 0)
                snprintf(answer->why, sizeof(answer->why), "%s", strerror(-r));
        return answer->n_addresses > 0;
}

/* 0, or a negative errno; -ETIMEDOUT. */
static int wait_for(int fd, short events, uint64_t deadline_usec)
{
        struct pollfd wanted = {.fd = fd, .events = events};
        uint64_t left = usec_sub(deadline_usec, now_usec());
        int r = poll(&wanted, 1, (int)(left / USEC_PER_MSEC));

        if (r < 0)
                return errno == EINTR ? 0 : -errno;
        return r == 0 ? -ETIMEDOUT : 0;
}

static int connect_to(const struct addrinfo *address)
{
        _cleanup_close_ int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        socklen_t n_error = sizeof(int);
        int error = 0, r;

        if (fd < 0)
                return -errno;
        if (connect(fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS)
                return -errno;
        r = wait_for(fd, POLLOUT, now_usec() + CONNECT_USEC);
        if (r < 0)
                return r;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n_error) < 0)
                return -errno;
        return error != 0 ? -error : TAKE_FD(fd);
}

/* The first address that takes a connection. */
static int connect_to_any(const Answer *answer, uint16_t port, char why[static WHY_MAX])
{
        struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *address;
        char service[8];
        int fd = -EHOSTUNREACH;

        snprintf(service, sizeof(service), "%u", port);
        for (size_t i = 0; i < answer->n_addresses && fd < 0; i++) {
                if (getaddrinfo(answer->addresses[i].text, service, &hints, &address) != 0)
                        continue;
                fd = connect_to(address);
                freeaddrinfo(address);
                if (fd < 0)
                        snprintf(why, WHY_MAX, "%s port %u: %s", answer->addresses[i].text, port, strerror(-fd));
        }
        return fd;
}

static bool load_identity(SSL_CTX *context, const IdentityParams *params)
{
        _cleanup_(identity_certificates_freep) STACK_OF(X509) *certificates = NULL;
        _cleanup_(identity_key_freep) EVP_PKEY *key = NULL;
        _cleanup_(certificate_freep) X509 *own = NULL;
        char problem[IDENTITY_TEXT_MAX]; /* the lines on certificate and key have said it */

        if (identity_load_certificates(params, &certificates, problem) < 0)
                return false;
        own = sk_X509_shift(certificates);
        return identity_load_key(params, own, &key, problem) == 0 &&
               SSL_CTX_use_cert_and_key(context, own, key, certificates, 1) == 1;
}

static SSL_CTX *make_context(const Check *check)
{
        const IdentityParams identity = check_identity_params(check);
        _cleanup_(context_freep) SSL_CTX *context = SSL_CTX_new(TLS_client_method());

        if (!context)
                return NULL;
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
            SSL_CTX_load_verify_locations(context, check->config->broker.root_ca, NULL) != 1 ||
            !load_identity(context, &identity))
                return NULL;
        return TAKE_PTR(context);
}

static bool set_names(SSL *ssl, const Config *config)
{
        unsigned char address[sizeof(struct in6_addr)];
        const char *name = config->broker.endpoint;

        if (config->broker.port == ALPN_PORT && SSL_set_alpn_protos(ssl, alpn, sizeof(alpn) - 1) != 0)
                return false;
        if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1)
                return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
        return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

static void explain(SSL *ssl, char why[static WHY_MAX])
{
        long verdict = SSL_get_verify_result(ssl);
        unsigned long error = ERR_peek_last_error();

        if (verdict != X509_V_OK)
                snprintf(why, WHY_MAX, "its certificate: %s", X509_verify_cert_error_string(verdict));
        else if (error != 0)
                ERR_error_string_n(error, why, WHY_MAX);
        else
                snprintf(why, WHY_MAX, "the connection was closed");
}

/* Of TLS 1.3 a refusal of our certificate comes with the first read, after the handshake: so one is tried. */
static bool shake_hands(SSL *ssl, int fd, char why[static WHY_MAX])
{
        uint64_t deadline = now_usec() + HANDSHAKE_USEC;
        bool is_done = false;
        char byte;
        int r;

        for (;;) {
                int error;

                ERR_clear_error();
                r = is_done ? SSL_read(ssl, &byte, 1) : SSL_connect(ssl);
                if (r == 1 && is_done)
                        return true;
                if (r == 1) {
                        is_done = true;
                        /* A broker that is content says nothing before CONNECT. */
                        deadline = now_usec() + USEC_PER_SEC;
                        continue;
                }
                error = SSL_get_error(ssl, r);
                if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
                        explain(ssl, why);
                        return false;
                }
                r = wait_for(fd, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline);
                if (r == -ETIMEDOUT && is_done)
                        return true;
                if (r < 0) {
                        snprintf(why, WHY_MAX, "%s", strerror(-r));
                        return false;
                }
        }
}

static void check_handshake(Check *check, int fd)
{
        const Config *config = check->config;
        _cleanup_(context_freep) SSL_CTX *context = NULL;
        _cleanup_(ssl_freep) SSL *ssl = NULL;
        char why[WHY_MAX] = "";

        /* The lines on certificate and key say whether the token works. */
        if (identity_is_uri(config->broker.key) || identity_is_uri(config->broker.cert)) {
                check_say(check, CHECK_OK, subject, NULL,
                          "%s port %u takes connections; TLS with a token's key was not tried",
                          config->broker.endpoint, config->broker.port);
                return;
        }
        context = make_context(check);
        ssl = context ? SSL_new(context) : NULL;
        ERR_clear_error();
        if (!ssl) {
                check_say(check, CHECK_WARN, subject, "mend CA, certificate and key first",
                          "%s takes connections; whom it lets in was not tried", config->broker.endpoint);
                return;
        }
        if (SSL_set_fd(ssl, fd) != 1 || !set_names(ssl, config)) {
                check_say(check, CHECK_FAIL, subject, "correct broker.endpoint", "%s is no name for TLS",
                          config->broker.endpoint);
                return;
        }
        if (shake_hands(ssl, fd, why))
                check_say(check, CHECK_OK, subject, NULL, "%s port %u takes this device's certificate",
                          config->broker.endpoint, config->broker.port);
        else
                check_say(check, CHECK_FAIL, subject,
                          "see that the root CA is the broker's and the certificate is active in AWS IoT",
                          "no TLS with %s port %u: %s", config->broker.endpoint, config->broker.port, why);
        ERR_clear_error();
}

void check_broker(Check *check)
{
        const Config *config = check->config;
        _cleanup_close_ int fd = -1;
        Answer answer = {.n_addresses = 0};
        char why[WHY_MAX] = "no usable address";

        if (!look_up(config->broker.endpoint, &answer)) {
                check_say(check, CHECK_FAIL, subject, "correct broker.endpoint, or see to the name servers",
                          "%s cannot be looked up: %s", config->broker.endpoint, answer.why);
                return;
        }
        fd = connect_to_any(&answer, config->broker.port, why);
        if (fd < 0)
                check_say(check, CHECK_FAIL, subject, "see to the network, a firewall, broker.port",
                          "%s cannot be connected to: %s", config->broker.endpoint, why);
        else
                check_handshake(check, fd);
}
