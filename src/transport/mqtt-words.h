/*
 * mqtt-words: MQTT reason codes, for a person.
 *
 * Source: MQTT 5.0 section 2.4; MQTT 3.1.1 sections 3.2.2.3 and 3.9.3; which ones AWS IoT Core sends, and when: AWS IoT
 * Core Developer Guide, "MQTT" (7 for "not authorized" in a 3.1.1 CONNACK among them).
 */
#pragma once

/* Static text; "an unknown reason" where there is none. */
const char *mqtt_reason_to_words(int code);        /* 0x80 and above, and 0 */
const char *mqtt_connack_3_1_1_to_words(int code); /* 1 to 5, and 7 */
