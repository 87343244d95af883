#include "installer-private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/local-session.h"
#include "base/log.h"
#include "base/memory.h"
#include "install/history.h"

void installer_copy_state(Installer *i, LinkState *ret)
{
        InstallStatus status;

        install_session_get_status(i->session, &status);
        memset(ret, 0, sizeof(*ret));
        ret->state = status.state;
        ret->failure = *status.failure;
        ret->reboot_needed = status.reboot_needed;
        ret->without_signature = status.without_signature;
        ret->selftest_left_usec = status.selftest_left_usec;
        (void)snprintf(ret->previous_version, sizeof(ret->previous_version), "%s", status.previous_version);
        (void)snprintf(ret->version, sizeof(ret->version), "%s", status.version);
        if (!status.record)
                return;
        (void)snprintf(ret->session, sizeof(ret->session), "%s", status.record->request.session);
        (void)snprintf(ret->job_id, sizeof(ret->job_id), "%s", status.record->request.job_id);
        ret->attempt = status.record->request.attempt;
        ret->n_files = status.record->request.n_files;
        for (size_t f = 0; f < ret->n_files; f++) {
                const InstallFile *file = &status.record->request.files[f];
                LinkFileState *to = &ret->files[f];

                (void)snprintf(to->target, sizeof(to->target), "%s", file->target);
                (void)snprintf(to->slot, sizeof(to->slot), "%s", status.record->files[f].slot);
                to->size_bytes = file->size_bytes;
                to->written_bytes = status.files[f].written_bytes;
                to->durable_bytes = status.files[f].durable_bytes;
                to->verified_bytes = status.files[f].verified_bytes;
        }
}

/* ---- the answers ---- */

static LinkErrorKind error_kind(InstallOutcome outcome)
{
        switch (outcome) {
        case INSTALL_OUTCOME_NOT_NOW:
                return LINK_ERROR_NOT_NOW;
        case INSTALL_OUTCOME_BUSY:
                return LINK_ERROR_BUSY;
        case INSTALL_OUTCOME_OUT_OF_TURN:
                return LINK_ERROR_OUT_OF_TURN;
        case INSTALL_OUTCOME_NOTHING:
                return LINK_ERROR_NOTHING;
        case INSTALL_OUTCOME_DONE:
        case INSTALL_OUTCOME_FAILED:
                break;
        }
        return LINK_ERROR_FAILED;
}

/* An answer owed, and what it must say when all went well. */
typedef struct Owed {
        Installer *installer;
        LinkReply *reply;
} Owed;

static Owed *owe(Installer *i, LinkReply *reply)
{
        Owed *owed = calloc(1, sizeof(*owed));

        if (!owed) {
                link_reply_error(reply, LINK_ERROR_BUSY, FAILURE_RESOURCES, "out of memory");
                return NULL;
        }
        *owed = (Owed){.installer = i, .reply = reply};
        return owed;
}

/* Frees `owed`; NULL where the answer was an error and has been given. */
static LinkReply *settle(Owed *owed, InstallOutcome outcome, const Failure *failure)
{
        LinkReply *reply = owed->reply;

        free(owed);
        if (outcome == INSTALL_OUTCOME_DONE)
                return reply;
        link_reply_error(reply, error_kind(outcome), failure->reason, failure->detail);
        return NULL;
}

static void answer_done(InstallOutcome outcome, const Failure *failure, void *userdata)
{
        LinkReply *reply = settle(userdata, outcome, failure);

        if (reply)
                link_reply_ok(reply);
}

/* A local session is its owner's; the owner may have gone meanwhile. */
static void note_owner(Installer *i, const void *peer, InstallOutcome outcome)
{
        InstallStatus status;

        if (!i->session || (outcome != INSTALL_OUTCOME_DONE && outcome != INSTALL_OUTCOME_NOT_NOW))
                return;
        install_session_get_status(i->session, &status);
        if (!status.record || !session_is_local(status.record->request.session))
                return;
        i->owner = peer;
        if (!link_server_has_peer(i->server, peer))
                install_session_owner_gone(i->session);
}

static void answer_begin(InstallOutcome outcome, const Failure *failure, void *userdata)
{
        Installer *i = ((Owed *)userdata)->installer;
        const void *peer = link_reply_peer(((Owed *)userdata)->reply);
        LinkReply *reply = settle(userdata, outcome, failure);
        LinkOffsets offsets = {.n_files = 0};
        InstallStatus status;

        note_owner(i, peer, outcome);
        if (!reply)
                return;
        install_session_get_status(i->session, &status);
        if (status.record)
                offsets.n_files = status.record->request.n_files;
        for (size_t f = 0; f < offsets.n_files; f++)
                offsets.resume_bytes[f] = status.files[f].written_bytes;
        link_reply_offsets(reply, &offsets);
}

static void answer_revert(InstallOutcome outcome, const Failure *failure, void *userdata)
{
        Installer *i = ((Owed *)userdata)->installer;
        const void *peer = link_reply_peer(((Owed *)userdata)->reply);

        answer_done(outcome, failure, userdata);
        note_owner(i, peer, outcome);
}

static void answer_write(InstallOutcome outcome, const Failure *failure, int fd, void *userdata)
{
        LinkReply *reply = settle(userdata, outcome, failure);

        if (!reply)
                return;
        link_reply_fd(reply, fd);
        memory_give_back(); /* what Begin needed, the boot script's calls too; from here on bytes only are moved */
}

static void answer_activate(InstallOutcome outcome, const Failure *failure, void *userdata)
{
        Installer *i = ((Owed *)userdata)->installer;
        LinkReply *reply = settle(userdata, outcome, failure);
        InstallStatus status;

        if (!reply)
                return;
        install_session_get_status(i->session, &status);
        link_reply_reboot_needed(reply, status.reboot_needed);
}

/* ---- the calls ---- */

static void op_get_state(LinkState *ret, void *userdata)
{
        installer_copy_state(userdata, ret);
}

static void op_begin(LinkReply *reply, const LinkBegin *begin, void *userdata)
{
        Installer *i = userdata;
        Owed *owed = owe(i, reply);
        InstallRequest request = {.attempt = begin->attempt, .n_files = begin->n_files};

        if (!owed)
                return;
        (void)snprintf(request.session, sizeof(request.session), "%s", begin->session);
        (void)snprintf(request.job_id, sizeof(request.job_id), "%s", begin->job_id);
        for (size_t f = 0; f < begin->n_files; f++) {
                const LinkFile *from = &begin->files[f];
                InstallFile *to = &request.files[f];

                (void)snprintf(to->target, sizeof(to->target), "%s", from->target);
                (void)snprintf(to->cert, sizeof(to->cert), "%s", from->cert);
                to->size_bytes = from->size_bytes;
                to->algorithm = from->algorithm;
                to->n_signature = from->n_signature;
                memcpy(to->signature, from->signature, from->n_signature);
        }
        install_session_begin(i->session, &request, answer_begin, owed);
}

static void op_write(LinkReply *reply, unsigned file, uint64_t offset, void *userdata)
{
        Installer *i = userdata;
        Owed *owed = owe(i, reply);

        if (owed)
                install_session_write(i->session, file, offset, answer_write, owed);
}

static void op_activate(LinkReply *reply, void *userdata)
{
        Installer *i = userdata;
        Owed *owed = owe(i, reply);

        if (owed)
                install_session_activate(i->session, answer_activate, owed);
}

static void op_roll_back(LinkReply *reply, const Failure *why, void *userdata)
{
        Installer *i = userdata;
        Owed *owed = owe(i, reply);

        if (owed)
                install_session_roll_back(i->session, why, answer_done, owed);
}

static void op_plain(Installer *i, LinkReply *reply,
                     void (*call)(InstallSession *session, InstallDoneFn done, void *userdata))
{
        Owed *owed = owe(i, reply);

        if (owed)
                call(i->session, answer_done, owed);
}

static void op_verify(LinkReply *reply, void *userdata)
{
        op_plain(userdata, reply, install_session_verify);
}

static void op_reboot(LinkReply *reply, void *userdata)
{
        op_plain(userdata, reply, install_session_reboot);
}

static void op_self_test(LinkReply *reply, void *userdata)
{
        op_plain(userdata, reply, install_session_self_test);
}

static void op_commit(LinkReply *reply, void *userdata)
{
        op_plain(userdata, reply, install_session_commit);
}

static void op_release(LinkReply *reply, void *userdata)
{
        op_plain(userdata, reply, install_session_release);
}

/*
 * An older version without a signature that is looked at again, so not for otad, whoever has broken into that: for root,
 * and for ourselves where somebody tries it out as a user.
 */
static void op_revert(LinkReply *reply, const LinkRevert *revert, void *userdata)
{
        uid_t uid = link_reply_uid(reply);
        Installer *i = userdata;
        Owed *owed;
        InstallRequest request = {.attempt = 1, .n_files = revert->n_targets};

        if (uid != 0 && uid != geteuid()) {
                log_warning("User %u asked for what was committed before, which is for root only", (unsigned)uid);
                link_reply_error(reply, LINK_ERROR_FAILED, FAILURE_INSTALLER,
                                 "going back after the commit is for root only");
                return;
        }
        owed = owe(i, reply);
        if (!owed)
                return;
        (void)snprintf(request.session, sizeof(request.session), "%s", revert->session);
        (void)snprintf(request.job_id, sizeof(request.job_id), "%s", LOCAL_SESSION_JOB_ID);
        for (size_t t = 0; t < revert->n_targets; t++)
                (void)snprintf(request.files[t].target, sizeof(request.files[t].target), "%s", revert->targets[t]);
        install_session_revert(i->session, &request, answer_revert, owed);
}

static void copy_entry(const HistoryEntry *from, LinkHistoryEntry *to)
{
        *to = (LinkHistoryEntry){
                .attempt = from->attempt,
                .size_bytes = from->size_bytes,
                .began_wall_usec = from->began_wall_usec,
                .ended_wall_usec = from->ended_wall_usec,
        };
        (void)snprintf(to->session, sizeof(to->session), "%s", from->session);
        (void)snprintf(to->job_id, sizeof(to->job_id), "%s", from->job_id);
        (void)snprintf(to->operation, sizeof(to->operation), "%s", from->operation);
        (void)snprintf(to->targets, sizeof(to->targets), "%s", from->targets);
        (void)snprintf(to->result, sizeof(to->result), "%s", from->result);
        (void)snprintf(to->reason, sizeof(to->reason), "%s", from->reason);
        (void)snprintf(to->detail, sizeof(to->detail), "%s", from->detail);
        (void)snprintf(to->previous_version, sizeof(to->previous_version), "%s", from->previous_version);
        (void)snprintf(to->version, sizeof(to->version), "%s", from->version);
}

static void op_get_history(LinkReply *reply, void *userdata)
{
        Installer *i = userdata;
        _cleanup_free_ HistoryEntry *entries = NULL;
        _cleanup_free_ LinkHistoryEntry *copies = NULL;
        size_t n = 0;
        int r;

        r = history_load(i->state_fd, &entries, &n);
        if (r >= 0) {
                copies = calloc(MAX2(n, (size_t)1), sizeof(*copies));
                r = copies ? 0 : -ENOMEM;
        }
        if (r < 0) {
                bool damaged = r == -EBADMSG || r == -EUCLEAN;

                link_reply_error(reply, LINK_ERROR_FAILED, damaged ? FAILURE_RECORD_DAMAGED : FAILURE_RESOURCES,
                                 r == -EBADMSG   ? "the history was damaged, and is put aside"
                                 : r == -EUCLEAN ? "the history can be neither read nor put aside"
                                                 : strerror(-r));
                return;
        }
        for (size_t e = 0; e < n; e++)
                copy_entry(&entries[e], &copies[e]);
        link_reply_history(reply, copies, n);
}

static void on_peer_gone(const void *peer, void *userdata)
{
        Installer *i = userdata;

        if (peer != i->owner)
                return;
        i->owner = NULL;
        if (i->session)
                install_session_owner_gone(i->session);
}

const LinkServerOps installer_server_ops = {
        .get_state = op_get_state,
        .begin = op_begin,
        .write = op_write,
        .verify = op_verify,
        .activate = op_activate,
        .reboot = op_reboot,
        .self_test = op_self_test,
        .commit = op_commit,
        .roll_back = op_roll_back,
        .release = op_release,
        .revert = op_revert,
        .get_history = op_get_history,
        .peer_gone = on_peer_gone,
};
