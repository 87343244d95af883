/*
 * resolver: one name look-up on the event loop, without a thread and without blocking.
 *
 * c-ares asks the servers of /etc/resolv.conf (read anew for each look-up, so a changed network is seen)
 * after /etc/hosts. IP literals pass through at once; "localhost" and
 * what ends in ".localhost" are the loopback addresses. Other name services of the
 * C library (mDNS, LDAP) are not asked. Knows nothing of ports, connections or retries. Source: RFC 6724
 * (order of the addresses), RFC 8305 section 4 (IPv6 and IPv4 in turn), RFC 6761 section 6.3 (localhost).
 */
#pragma once

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"

enum {
        RESOLVER_ADDRESSES_MAX = 16, /* more are cut off, the best ones are kept */
        RESOLVER_NAME_MAX = 253,
};

/* A plain value: one numeric address; best first in a list, and the families in turn. */
typedef struct ResolvedAddress {
        int family;                           /* AF_INET or AF_INET6 */
        char text[INET6_ADDRSTRLEN + 1 + 16]; /* "192.0.2.1", "2001:db8::1", "fe80::1%3" */
} ResolvedAddress;

typedef struct ResolverParams {
        const char *name;      /* host name or IP literal (no brackets); copied */
        uint64_t timeout_usec; /* deadline for the whole look-up, over all servers and tries; never 0 */
        const char *servers;   /* "192.0.2.53,[2001:db8::53]:5353"; NULL: those of the system. For tests */
} ResolverParams;

typedef struct Resolver Resolver;

/*
 * Called exactly once, last of all, unless the look-up is freed before. May free the look-up. On success
 * error is 0, problem NULL and n_addresses > 0; both are borrowed for the call. Else addresses is NULL and
 * `problem` says why in words ("no such host"): -ENOENT no such name or no address, -ETIMEDOUT the deadline,
 * -EHOSTUNREACH no server answered, -EINVAL not a name, -EIO the rest.
 */
typedef void (*ResolverDoneFn)(Resolver *resolver, int error, const char *problem, const ResolvedAddress *addresses,
                               size_t n_addresses, void *userdata);

/* The callback comes later, from the loop, never from inside this call. -ENOMEM, -EINVAL (empty or too long a
 * name). */
_must_use_ int resolver_start(sd_event *event, const ResolverParams *params, ResolverDoneFn on_done, void *userdata,
                              Resolver **ret);
Resolver *resolver_free(Resolver *resolver); /* cancels; NULL is fine; returns NULL */
DEFINE_CLEANUP(Resolver *, resolver_free);
