/* Reason codes of MQTT, in words: those AWS IoT Core sends, and those nobody has heard of. */
#include "mqtt-words.h"

#include <string.h>

#include "base/cleanup.h"
#include "unit.h"

static void test_every_code_of_aws_has_words(void **state _unused_)
{
        /* CONNACK, PUBACK, SUBACK and DISCONNECT, as docs/cloud-protocol.md lists them. */
        static const int codes[] = {0x80, 0x81, 0x82, 0x83, 0x85, 0x86, 0x87, 0x8b, 0x8d, 0x8e,
                                    0x8f, 0x90, 0x91, 0x93, 0x94, 0x97, 0x98, 0x9b, 0xa1};

        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                assert_string_not_equal(mqtt_reason_to_words(codes[i]), "an unknown reason");
        assert_non_null(strstr(mqtt_reason_to_words(0x8e), "another client"));
        assert_non_null(strstr(mqtt_reason_to_words(0x87), "policy"));
}

static void test_old_refusals(void **state _unused_)
{
        assert_string_equal(mqtt_connack_3_1_1_to_words(5), mqtt_reason_to_words(0x87));
        assert_string_equal(mqtt_connack_3_1_1_to_words(7), mqtt_reason_to_words(0x87));
        assert_string_equal(mqtt_connack_3_1_1_to_words(2), "client id not valid");
}

static void test_unknown(void **state _unused_)
{
        static const int codes[] = {-1, 1, 0x7f, 0x8c, 0xa3, 0xff, 1 << 20};

        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                assert_string_equal(mqtt_reason_to_words(codes[i]), "an unknown reason");
        assert_string_equal(mqtt_connack_3_1_1_to_words(0), "an unknown reason");
        assert_string_equal(mqtt_connack_3_1_1_to_words(6), "an unknown reason");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_code_of_aws_has_words),
                cmocka_unit_test(test_old_refusals),
                cmocka_unit_test(test_unknown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
