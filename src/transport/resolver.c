#include "transport/resolver.h"

#include <ares.h>
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "base/time-util.h"

enum {
        /* One try at one server; c-ares doubles it each time it has asked all of them. Our deadline bounds the sum. */
        QUERY_TIMEOUT_MSEC = 2000,
        QUERY_TRIES = 4,
        SOCKETS_MAX = 32, /* UDP and TCP to every server resolv.conf may name, and then some */
};

typedef struct ResolverSocket {
        sd_event_source *source; /* NULL: free place */
        int fd;
} ResolverSocket;

struct Resolver {
        sd_event *event;
        ares_channel channel; /* NULL where the name is an IP literal */
        ResolverSocket sockets[SOCKETS_MAX];
        sd_event_source *retry_source; /* when c-ares wants to ask again */
        sd_event_source *deadline_source;
        sd_event_source *done_source; /* c-ares may answer from inside the call that asks; we answer from the loop */

        ResolverDoneFn on_done;
        void *userdata;

        bool done;
        int error;
        const char *problem;
        ResolvedAddress addresses[RESOLVER_ADDRESSES_MAX];
        size_t n_addresses;
};

static int on_done_event(sd_event_source *source _unused_, void *userdata)
{
        Resolver *resolver = userdata;

        if (resolver->error < 0)
                resolver->on_done(resolver, resolver->error, resolver->problem, NULL, 0, resolver->userdata);
        else
                resolver->on_done(resolver, 0, NULL, resolver->addresses, resolver->n_addresses, resolver->userdata);
        return 0;
}

/* The first outcome counts; what c-ares reports while it is being torn down does not. */
static void resolver_finish(Resolver *resolver, int error, const char *problem)
{
        if (resolver->done)
                return;
        resolver->done = true;
        resolver->error = error;
        resolver->problem = problem;
        (void)sd_event_source_set_enabled(resolver->retry_source, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(resolver->deadline_source, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(resolver->done_source, SD_EVENT_ONESHOT);
}

static int on_deadline(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
        resolver_finish(userdata, -ETIMEDOUT, "the name servers did not answer in time");
        return 0;
}

static void resolver_add_address(Resolver *resolver, const struct sockaddr *address)
{
        ResolvedAddress *a = &resolver->addresses[resolver->n_addresses];
        const void *bytes;

        if (resolver->n_addresses == RESOLVER_ADDRESSES_MAX)
                return;
        if (address->sa_family == AF_INET)
                bytes = &((const struct sockaddr_in *)address)->sin_addr;
        else if (address->sa_family == AF_INET6)
                bytes = &((const struct sockaddr_in6 *)address)->sin6_addr;
        else
                return;
        if (!inet_ntop(address->sa_family, bytes, a->text, sizeof(a->text)))
                return;
        a->family = address->sa_family;
        resolver->n_addresses++;
}

static const struct ares_addrinfo_node *next_of_family(const struct ares_addrinfo_node *node, int family)
{
        while (node && node->ai_family != family)
                node = node->ai_next;
        return node;
}

/*
 * Best first, but the families in turn (RFC 8305, section 4): where one of them leads nowhere, as broken IPv6 does, every
 * second address still leads somewhere, and none is cut off for the other's sake.
 */
static void resolver_take_answer(Resolver *resolver, const struct ares_addrinfo_node *nodes)
{
        int family = nodes && nodes->ai_family == AF_INET6 ? AF_INET6 : AF_INET;
        const struct ares_addrinfo_node *next = next_of_family(nodes, family);
        const struct ares_addrinfo_node *other = next_of_family(nodes, family == AF_INET6 ? AF_INET : AF_INET6);

        while (next || other) {
                const struct ares_addrinfo_node *node = next;

                next = other;
                other = node;
                if (!node)
                        continue;
                resolver_add_address(resolver, node->ai_addr);
                other = next_of_family(node->ai_next, node->ai_family);
        }
}

static int ares_status_to_errno(int status)
{
        switch (status) {
        case ARES_ENOTFOUND:
        case ARES_ENODATA:
                return -ENOENT;
        case ARES_ETIMEOUT:
        case ARES_ECONNREFUSED:
        case ARES_ESERVFAIL:
        case ARES_EREFUSED:
                return -EHOSTUNREACH;
        case ARES_EBADNAME:
        case ARES_EFORMERR:
                return -EINVAL;
        case ARES_ENOMEM:
                return -ENOMEM;
        default:
                return -EIO;
        }
}

static void on_ares_answer(void *userdata, int status, int timeouts _unused_, struct ares_addrinfo *answer)
{
        Resolver *resolver = userdata;

        /* ARES_EDESTRUCTION and ARES_ECANCELLED are our own doing: nobody waits any more. */
        if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED)
                return;
        if (status == ARES_SUCCESS && !resolver->done)
                resolver_take_answer(resolver, answer->nodes);
        if (answer)
                ares_freeaddrinfo(answer);

        if (status != ARES_SUCCESS)
                resolver_finish(resolver, ares_status_to_errno(status), ares_strerror(status));
        else if (resolver->n_addresses == 0)
                resolver_finish(resolver, -ENOENT, "the name has no address");
        else
                resolver_finish(resolver, 0, NULL);
}

static void resolver_arm_retry(Resolver *resolver)
{
        struct timeval tv;
        uint64_t usec;

        if (resolver->done)
                return;
        if (!ares_timeout(resolver->channel, NULL, &tv)) {
                (void)sd_event_source_set_enabled(resolver->retry_source, SD_EVENT_OFF);
                return;
        }
        /* Never at once: c-ares rounds down and would be asked in a circle. */
        usec = MAX2((uint64_t)tv.tv_sec * USEC_PER_SEC + (uint64_t)tv.tv_usec, USEC_PER_MSEC);
        (void)sd_event_source_set_time_relative(resolver->retry_source, usec);
        (void)sd_event_source_set_enabled(resolver->retry_source, SD_EVENT_ONESHOT);
}

static int on_retry(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
        Resolver *resolver = userdata;

        ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
        resolver_arm_retry(resolver);
        return 0;
}

static int on_socket(sd_event_source *source _unused_, int fd, uint32_t revents, void *userdata)
{
        Resolver *resolver = userdata;

        ares_process_fd(resolver->channel, revents & (EPOLLIN | EPOLLERR | EPOLLHUP) ? fd : ARES_SOCKET_BAD,
                        revents & (EPOLLOUT | EPOLLERR) ? fd : ARES_SOCKET_BAD);
        resolver_arm_retry(resolver);
        return 0;
}

/* c-ares tells which sockets it has and what it waits for; 0, 0 comes before it closes one. */
static void on_socket_state(void *userdata, ares_socket_t fd, int readable, int writable)
{
        uint32_t events = (readable ? (uint32_t)EPOLLIN : 0) | (writable ? (uint32_t)EPOLLOUT : 0);
        Resolver *resolver = userdata;
        ResolverSocket *place = NULL;

        for (size_t i = 0; i < SOCKETS_MAX; i++) {
                if (resolver->sockets[i].source && resolver->sockets[i].fd == fd) {
                        place = &resolver->sockets[i];
                        break;
                }
                if (!resolver->sockets[i].source && !place)
                        place = &resolver->sockets[i];
        }
        /* No room: this server's answer goes unheard, the deadline holds. */
        if (!place || (!place->source && events == 0))
                return;

        if (events == 0) {
                place->source = sd_event_source_disable_unref(place->source);
                return;
        }
        if (place->source) {
                (void)sd_event_source_set_io_events(place->source, events);
                return;
        }
        if (sd_event_add_io(resolver->event, &place->source, fd, events, on_socket, resolver) < 0)
                return;
        place->fd = fd;
        (void)sd_event_source_set_description(place->source, "resolver-socket");
}

/* AI_NUMERICHOST never asks anybody, and knows scopes ("fe80::1%eth0"), which c-ares does not. */
static bool resolver_try_literal(Resolver *resolver, const char *name)
{
        const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
        ResolvedAddress *a = &resolver->addresses[0];
        struct addrinfo *info;
        int r;

        if (getaddrinfo(name, NULL, &hints, &info) != 0)
                return false;
        r = getnameinfo(info->ai_addr, info->ai_addrlen, a->text, sizeof(a->text), NULL, 0, NI_NUMERICHOST);
        a->family = info->ai_family;
        freeaddrinfo(info);
        if (r != 0)
                return false;
        resolver->n_addresses = 1;
        return true;
}

/* RFC 6761, section 6.3: never asked of a server; nor of /etc/hosts, which a very small system may lack. */
static bool resolver_try_localhost(Resolver *resolver, const char *name)
{
        static const ResolvedAddress loopback[] = {{AF_INET, "127.0.0.1"}, {AF_INET6, "::1"}};
        static const char suffix[] = ".localhost";
        size_t n = strlen(name);

        if (strcasecmp(name, "localhost") != 0 &&
            (n < strlen(suffix) || strcasecmp(name + n - strlen(suffix), suffix) != 0))
                return false;
        memcpy(resolver->addresses, loopback, sizeof(loopback));
        resolver->n_addresses = ELEMENTSOF(loopback);
        return true;
}

static int resolver_open_channel(Resolver *resolver, const char *servers)
{
        struct ares_options options = {
                .timeout = QUERY_TIMEOUT_MSEC,
                .tries = QUERY_TRIES,
                .sock_state_cb = on_socket_state,
                .sock_state_cb_data = resolver,
        };
        static bool library_ready;
        int status;

        if (!library_ready) {
                if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
                        return -ENOMEM;
                library_ready = true;
        }
        status = ares_init_options(&resolver->channel, &options,
                                   ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
        if (status != ARES_SUCCESS) {
                resolver->channel = NULL;
                return status == ARES_ENOMEM ? -ENOMEM : -EIO;
        }
        if (servers && ares_set_servers_ports_csv(resolver->channel, servers) != ARES_SUCCESS)
                return -EINVAL;
        return 0;
}

static int resolver_add_sources(Resolver *resolver, uint64_t timeout_usec)
{
        int r;

        r = sd_event_add_defer(resolver->event, &resolver->done_source, on_done_event, resolver);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(resolver->done_source, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = sd_event_add_time_relative(resolver->event, &resolver->deadline_source, CLOCK_BOOTTIME, timeout_usec,
                                       10 * USEC_PER_MSEC, on_deadline, resolver);
        if (r < 0)
                return r;
        r = sd_event_add_time_relative(resolver->event, &resolver->retry_source, CLOCK_BOOTTIME, 0,
                                       10 * USEC_PER_MSEC, on_retry, resolver);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(resolver->done_source, "resolver-done");
        (void)sd_event_source_set_description(resolver->deadline_source, "resolver-deadline");
        (void)sd_event_source_set_description(resolver->retry_source, "resolver-retry");
        return sd_event_source_set_enabled(resolver->retry_source, SD_EVENT_OFF);
}

int resolver_start(sd_event *event, const ResolverParams *params, ResolverDoneFn on_done, void *userdata,
                   Resolver **ret)
{
        const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
        _cleanup_(resolver_freep) Resolver *resolver = NULL;
        int r;

        assert(params->timeout_usec > 0);
        if (!params->name[0] || strlen(params->name) > RESOLVER_NAME_MAX)
                return -EINVAL;

        resolver = calloc(1, sizeof(*resolver));
        if (!resolver)
                return -ENOMEM;
        resolver->event = sd_event_ref(event);
        resolver->on_done = on_done;
        resolver->userdata = userdata;
        r = resolver_add_sources(resolver, params->timeout_usec);
        if (r < 0)
                return r;

        if (resolver_try_literal(resolver, params->name) || resolver_try_localhost(resolver, params->name)) {
                resolver_finish(resolver, 0, NULL);
        } else {
                r = resolver_open_channel(resolver, params->servers);
                if (r < 0)
                        return r;
                ares_getaddrinfo(resolver->channel, params->name, NULL, &hints, on_ares_answer, resolver);
                resolver_arm_retry(resolver);
        }
        *ret = TAKE_PTR(resolver);
        return 0;
}

Resolver *resolver_free(Resolver *resolver)
{
        if (!resolver)
                return NULL;
        /* Closes its sockets, so it still calls on_socket_state(), and on_ares_answer() with ARES_EDESTRUCTION. */
        if (resolver->channel)
                ares_destroy(resolver->channel);
        for (size_t i = 0; i < SOCKETS_MAX; i++)
                sd_event_source_disable_unref(resolver->sockets[i].source);
        sd_event_source_disable_unref(resolver->retry_source);
        sd_event_source_disable_unref(resolver->deadline_source);
        sd_event_source_disable_unref(resolver->done_source);
        sd_event_unref(resolver->event);
        free(resolver);
        return NULL;
}
