#include "mqtt-words.h"

const char *mqtt_reason_to_words(int code)
{
        switch (code) {
        case 0x00:
                return "no reason given";
        case 0x80:
                return "unspecified error";
        case 0x81:
                return "malformed packet";
        case 0x82:
                return "protocol error";
        case 0x83:
                return "implementation-specific error";
        case 0x84:
                return "protocol version not supported";
        case 0x85:
                return "client id not valid";
        case 0x86:
                return "bad user name or password";
        case 0x87:
                return "not authorized: the policy of this certificate does not allow it";
        case 0x88:
                return "server unavailable";
        case 0x89:
                return "server busy";
        case 0x8a:
                return "banned";
        case 0x8b:
                return "the server is shutting down";
        case 0x8d:
                return "keep-alive timeout: the server heard nothing from us for too long";
        case 0x8e:
                return "session taken over: another client with the same client id has connected";
        case 0x8f:
                return "topic filter not valid";
        case 0x90:
                return "topic name not valid";
        case 0x91:
                return "packet id in use";
        case 0x92:
                return "packet id not found";
        case 0x93:
                return "more unacknowledged messages than the server takes";
        case 0x94:
                return "topic alias not valid";
        case 0x95:
                return "packet too large";
        case 0x96:
                return "message rate too high";
        case 0x97:
                return "quota exceeded";
        case 0x98:
                return "administrative action";
        case 0x99:
                return "payload format not valid";
        case 0x9a:
                return "retain not supported";
        case 0x9b:
                return "QoS not supported";
        case 0x9c:
                return "use another server";
        case 0x9d:
                return "server moved";
        case 0x9e:
                return "shared subscriptions not supported";
        case 0x9f:
                return "connection rate exceeded";
        case 0xa0:
                return "maximum connect time";
        case 0xa1:
                return "subscription ids not supported";
        case 0xa2:
                return "wildcard subscriptions not supported";
        default:
                return "an unknown reason";
        }
}

const char *mqtt_connack_3_1_1_to_words(int code)
{
        switch (code) {
        case 1:
                return "protocol version not supported";
        case 2:
                return "client id not valid";
        case 3:
                return "server unavailable";
        case 4:
                return "bad user name or password";
        case 5:
        case 7:
                return "not authorized: the policy of this certificate does not allow it";
        default:
                return "an unknown reason";
        }
}
