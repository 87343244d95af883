#include "mqtt-words.h"

#include <stddef.h>

#include "base/cleanup.h"

static const char *const reasons[] = {
        [0x00] = "no reason given",
        [0x80] = "unspecified error",
        [0x81] = "malformed packet",
        [0x82] = "protocol error",
        [0x83] = "implementation-specific error",
        [0x84] = "protocol version not supported",
        [0x85] = "client id not valid",
        [0x86] = "bad user name or password",
        [0x87] = "not authorized: the policy of this certificate does not allow it",
        [0x88] = "server unavailable",
        [0x89] = "server busy",
        [0x8a] = "banned",
        [0x8b] = "the server is shutting down",
        [0x8d] = "keep-alive timeout: the server heard nothing from us for too long",
        [0x8e] = "session taken over: another client with the same client id has connected",
        [0x8f] = "topic filter not valid",
        [0x90] = "topic name not valid",
        [0x91] = "packet id in use",
        [0x92] = "packet id not found",
        [0x93] = "more unacknowledged messages than the server takes",
        [0x94] = "topic alias not valid",
        [0x95] = "packet too large",
        [0x96] = "message rate too high",
        [0x97] = "quota exceeded",
        [0x98] = "administrative action",
        [0x99] = "payload format not valid",
        [0x9a] = "retain not supported",
        [0x9b] = "QoS not supported",
        [0x9c] = "use another server",
        [0x9d] = "server moved",
        [0x9e] = "shared subscriptions not supported",
        [0x9f] = "connection rate exceeded",
        [0xa0] = "maximum connect time",
        [0xa1] = "subscription ids not supported",
        [0xa2] = "wildcard subscriptions not supported",
};

static const char *const refusals_3_1_1[] = {
        [1] = "protocol version not supported",
        [2] = "client id not valid",
        [3] = "server unavailable",
        [4] = "bad user name or password",
        [5] = "not authorized: the policy of this certificate does not allow it",
        [7] = "not authorized: the policy of this certificate does not allow it",
};

static const char *word(const char *const *words, size_t n_words, int code)
{
        return code >= 0 && (size_t)code < n_words && words[code] ? words[code] : "an unknown reason";
}

const char *mqtt_reason_to_words(int code)
{
        return word(reasons, ELEMENTSOF(reasons), code);
}

const char *mqtt_connack_3_1_1_to_words(int code)
{
        return word(refusals_3_1_1, ELEMENTSOF(refusals_3_1_1), code);
}
