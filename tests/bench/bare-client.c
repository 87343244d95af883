/*
 * bare-client: how fast blocks of an MQTT stream come through a broker to who does nothing with them. Keeps many
 * requests of 128 KB in flight, decodes nothing, checks nothing, stores nothing: the limit otad is compared with.
 *
 *   bare-client HOST PORT CA CERT KEY THING STREAM SIZE BLOCK_BYTES IN_FLIGHT_BYTES
 *
 * Prints the seconds from the first request to the last block. The client id is THING.
 */
#include <mosquitto.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ANSWER_MAX = 131072, TIMEOUT_SEC = 120 };

typedef struct Client {
        char data[300], get[300];
        uint32_t block_bytes, n_blocks, n_asked, n_came, per_request, window;
        double began, ended;
} Client;

static double now(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t put_number(uint8_t *p, char key, uint32_t number)
{
        p[0] = 0x61;
        p[1] = (uint8_t)key;
        p[2] = 0x1a;
        for (unsigned i = 0; i < 4; i++)
                p[3 + i] = (uint8_t)(number >> (24 - 8 * i));
        return 7;
}

static void ask(Client *c, struct mosquitto *mosq)
{
        while (c->n_asked < c->n_blocks && c->n_asked - c->n_came + c->per_request <= c->window) {
                uint32_t left = c->n_blocks - c->n_asked, n = left < c->per_request ? left : c->per_request;
                uint8_t p[64] = {0xa5, 0x61, 'c', 0x61, 't'};
                size_t used = 5;

                used += put_number(p + used, 'f', 0);
                used += put_number(p + used, 'l', c->block_bytes);
                used += put_number(p + used, 'o', c->n_asked);
                used += put_number(p + used, 'n', n);
                if (mosquitto_publish(mosq, NULL, c->get, (int)used, p, 0, false) != MOSQ_ERR_SUCCESS)
                        exit(1);
                c->n_asked += n;
        }
}

static void on_message(struct mosquitto *mosq, void *userdata, const struct mosquitto_message *message)
{
        Client *c = userdata;

        (void)message;
        if (++c->n_came == c->n_blocks)
                c->ended = now();
        else
                ask(c, mosq);
}

static void on_subscribe(struct mosquitto *mosq, void *userdata, int id, int n, const int *qos)
{
        Client *c = userdata;

        (void)id, (void)n, (void)qos;
        c->began = now();
        ask(c, mosq);
}

static void on_connect(struct mosquitto *mosq, void *userdata, int code)
{
        Client *c = userdata;

        if (code != 0 || mosquitto_subscribe(mosq, NULL, c->data, 0) != MOSQ_ERR_SUCCESS)
                exit(1);
}

int main(int argc, char **argv)
{
        struct mosquitto *mosq;
        Client c = {0};
        double start = now();

        if (argc < 11) {
                fprintf(stderr, "usage: bare-client HOST PORT CA CERT KEY THING STREAM SIZE BLOCK IN_FLIGHT\n");
                return 2;
        }
        (void)snprintf(c.data, sizeof(c.data), "$aws/things/%s/streams/%s/data/cbor", argv[6], argv[7]);
        (void)snprintf(c.get, sizeof(c.get), "$aws/things/%s/streams/%s/get/cbor", argv[6], argv[7]);
        c.block_bytes = (uint32_t)atoi(argv[9]);
        c.n_blocks = (uint32_t)((strtoull(argv[8], NULL, 10) + c.block_bytes - 1) / c.block_bytes);
        c.per_request = ANSWER_MAX / c.block_bytes;
        c.window = (uint32_t)atoi(argv[10]) / c.block_bytes;

        (void)mosquitto_lib_init();
        mosq = mosquitto_new(argv[6], true, &c);
        if (!mosq || mosquitto_tls_set(mosq, argv[3], NULL, argv[4], argv[5], NULL) != MOSQ_ERR_SUCCESS)
                return 1;
        (void)mosquitto_int_option(mosq, MOSQ_OPT_TCP_NODELAY, 1);
        mosquitto_connect_callback_set(mosq, on_connect);
        mosquitto_subscribe_callback_set(mosq, on_subscribe);
        mosquitto_message_callback_set(mosq, on_message);
        if (mosquitto_connect(mosq, argv[1], atoi(argv[2]), 60) != MOSQ_ERR_SUCCESS)
                return 1;
        while (c.ended == 0 && now() - start < TIMEOUT_SEC)
                if (mosquitto_loop(mosq, 1000, 1) != MOSQ_ERR_SUCCESS)
                        break;
        mosquitto_destroy(mosq);
        (void)mosquitto_lib_cleanup();
        if (c.ended == 0) {
                fprintf(stderr, "bare-client: %u of %u blocks came\n", c.n_came, c.n_blocks);
                return 1;
        }
        printf("%.6f\n", c.ended - c.began);
        return 0;
}
