/*
 * fast-stream: MQTT file delivery as AWS IoT does it, as fast as the broker takes it. For the benchmark only: one file
 * under every stream name, no check of what a device may ask. The strict one is tests/cloud/streams.py.
 *
 *   fast-stream PORT USER PASSWORD FILE [LOSE_PERMILLE]
 *
 * Prints "ready" once it is subscribed. LOSE_PERMILLE of the blocks are never sent. Ends with its
 * standard input, and then prints how many requests came, blocks were sent, and blocks were lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <mosquitto.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK_MAX = 131072, HEAD_MAX = 64, TOKEN_MAX = 64, ANSWER_MAX = 131072, BITMAP_MAX = 12288 };

typedef struct Service {
        const uint8_t *image;
        uint64_t size;
        unsigned lose_permille;
        unsigned lose_sum;
        uint8_t *message; /* the block being sent */
        unsigned long n_requests, n_sent, n_lost;
} Service;

typedef struct Request {
        uint64_t file, length, offset, count;
        bool has_count;
        const uint8_t *bitmap;
        size_t n_bitmap;
        const uint8_t *token;
        size_t n_token;
} Request;

/* One item's head: its major type, and its number or length. False: not what a request has. */
static bool read_head(const uint8_t **p, const uint8_t *end, unsigned *major, uint64_t *number)
{
        unsigned first, n_more;

        if (*p >= end)
                return false;
        first = *(*p)++;
        *major = first >> 5;
        *number = first & 31;
        if (*number < 24)
                return true;
        if (*number > 27)
                return false;
        n_more = 1U << (*number - 24);
        if ((size_t)(end - *p) < n_more)
                return false;
        for (*number = 0; n_more > 0; n_more--)
                *number = *number << 8 | *(*p)++;
        return true;
}

static bool read_request(const uint8_t *p, size_t n, Request *r)
{
        const uint8_t *end = p + n, *key;
        uint64_t n_pairs, number;
        unsigned major;

        memset(r, 0, sizeof(*r));
        if (!read_head(&p, end, &major, &n_pairs) || major != 5)
                return false;
        for (; n_pairs > 0; n_pairs--) {
                if (!read_head(&p, end, &major, &number) || major != 3 || number != 1 || p >= end)
                        return false;
                key = p++;
                if (!read_head(&p, end, &major, &number))
                        return false;
                if ((major == 2 || major == 3) && number > (uint64_t)(end - p))
                        return false;
                switch (*key) {
                case 'c':
                        r->token = p;
                        r->n_token = number;
                        break;
                case 'f':
                        r->file = number;
                        break;
                case 'l':
                        r->length = number;
                        break;
                case 'o':
                        r->offset = number;
                        break;
                case 'n':
                        r->count = number;
                        r->has_count = true;
                        break;
                case 'b':
                        r->bitmap = p;
                        r->n_bitmap = number;
                        break;
                }
                if (major == 2 || major == 3)
                        p += number;
        }
        return r->length > 0 && r->length <= BLOCK_MAX && r->n_token <= TOKEN_MAX && r->n_bitmap <= BITMAP_MAX;
}

static size_t put_head(uint8_t *p, unsigned major, uint64_t number)
{
        if (number < 24) {
                p[0] = (uint8_t)(major << 5 | number);
                return 1;
        }
        p[0] = (uint8_t)(major << 5 | 26);
        for (unsigned i = 0; i < 4; i++)
                p[1 + i] = (uint8_t)(number >> (24 - 8 * i));
        return 5;
}

static size_t put_text(uint8_t *p, const void *text, size_t n)
{
        size_t n_head = put_head(p, 3, n);

        memcpy(p + n_head, text, n);
        return n_head + n;
}

static bool is_lost(Service *s)
{
        /* Exactly so many of any thousand, evenly spread, the first half-way: a random few would be another number. */
        s->lose_sum += s->lose_permille;
        if (s->lose_sum < 1000)
                return false;
        s->lose_sum -= 1000;
        return true;
}

static void send_block(Service *s, struct mosquitto *mosq, const char *topic, const Request *r, uint64_t block)
{
        uint64_t start = block * r->length, length = s->size - start < r->length ? s->size - start : r->length;
        uint8_t *p = s->message;
        size_t n = 0;

        p[n++] = 0xbf;
        n += put_text(p + n, "f", 1);
        n += put_head(p + n, 0, r->file);
        n += put_text(p + n, "i", 1);
        n += put_head(p + n, 0, block);
        n += put_text(p + n, "l", 1);
        n += put_head(p + n, 0, length);
        n += put_text(p + n, "p", 1);
        n += put_head(p + n, 2, length);
        memcpy(p + n, s->image + start, length);
        n += length;
        if (r->token) {
                n += put_text(p + n, "c", 1);
                n += put_text(p + n, r->token, r->n_token);
        }
        p[n++] = 0xff;
        if (mosquitto_publish(mosq, NULL, topic, (int)n, p, 0, false) == MOSQ_ERR_SUCCESS)
                s->n_sent++;
}

static void answer(Service *s, struct mosquitto *mosq, const char *topic, const Request *r)
{
        uint64_t n_blocks = (s->size + r->length - 1) / r->length, left = ANSWER_MAX / r->length;
        uint64_t n = r->bitmap ? 8 * r->n_bitmap : r->count;

        if (r->has_count && r->count < left)
                left = r->count;
        for (uint64_t i = 0; i < n && left > 0 && r->offset + i < n_blocks; i++) {
                if (r->bitmap && !(r->bitmap[i / 8] >> i % 8 & 1))
                        continue;
                left--;
                if (is_lost(s))
                        s->n_lost++;
                else
                        send_block(s, mosq, topic, r, r->offset + i);
        }
}

static void describe(Service *s, struct mosquitto *mosq, const char *topic, const Request *r)
{
        uint8_t p[256];
        size_t n = 0;

        n += put_head(p + n, 5, r->token ? 4 : 3);
        if (r->token) {
                n += put_text(p + n, "c", 1);
                n += put_text(p + n, r->token, r->n_token);
        }
        n += put_text(p + n, "s", 1);
        n += put_head(p + n, 0, 1);
        n += put_text(p + n, "d", 1);
        n += put_text(p + n, "bench", 5);
        n += put_text(p + n, "r", 1);
        n += put_head(p + n, 4, 1);
        n += put_head(p + n, 5, 2);
        n += put_text(p + n, "f", 1);
        n += put_head(p + n, 0, 0);
        n += put_text(p + n, "z", 1);
        n += put_head(p + n, 0, s->size);
        (void)mosquitto_publish(mosq, NULL, topic, (int)n, p, 0, false);
}

static void on_message(struct mosquitto *mosq, void *userdata, const struct mosquitto_message *message)
{
        const char *get = strstr(message->topic, "/get/cbor"), *describes = strstr(message->topic, "/describe/cbor");
        const char *end = get ? get : describes;
        Service *s = userdata;
        char topic[512];
        Request r;

        if (!end || end - message->topic > 300)
                return;
        s->n_requests++;
        (void)snprintf(topic, sizeof(topic), "%.*s/%s/cbor", (int)(end - message->topic), message->topic,
                       get ? "data" : "description");
        if (!read_request(message->payload, (size_t)message->payloadlen, &r) && get)
                return;
        if (get)
                answer(s, mosq, topic, &r);
        else
                describe(s, mosq, topic, &r);
}

static void on_subscribe(struct mosquitto *mosq, void *userdata, int id, int n, const int *qos)
{
        (void)mosq, (void)userdata, (void)id, (void)n, (void)qos;
        puts("ready");
        (void)fflush(stdout);
}

static void on_connect(struct mosquitto *mosq, void *userdata, int code)
{
        char *filters[] = {(char *)"$aws/things/+/streams/+/get/cbor",
                           (char *)"$aws/things/+/streams/+/describe/cbor"};

        (void)userdata;
        if (code == 0)
                (void)mosquitto_subscribe_multiple(mosq, NULL, 2, filters, 0, 0, NULL);
}

static int open_image(Service *s, const char *path)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;
        void *map;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
        (void)close(fd);
        if (map == MAP_FAILED)
                return -errno;
        s->image = map;
        s->size = (uint64_t)st.st_size;
        return 0;
}

static int serve(struct mosquitto *mosq)
{
        int rc = MOSQ_ERR_SUCCESS;

        while (rc == MOSQ_ERR_SUCCESS) {
                struct pollfd fds[] = {{.fd = mosquitto_socket(mosq), .events = POLLIN},
                                       {.fd = STDIN_FILENO, .events = POLLIN}};

                if (mosquitto_want_write(mosq))
                        fds[0].events |= POLLOUT;
                if (poll(fds, 2, 1000) < 0 && errno != EINTR)
                        return 1;
                if (fds[1].revents)
                        return 0;
                if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
                        rc = mosquitto_loop_read(mosq, 1);
                if (rc == MOSQ_ERR_SUCCESS && (fds[0].revents & POLLOUT))
                        rc = mosquitto_loop_write(mosq, 1);
                if (rc == MOSQ_ERR_SUCCESS)
                        rc = mosquitto_loop_misc(mosq);
        }
        fprintf(stderr, "fast-stream: %s\n", mosquitto_strerror(rc));
        return 1;
}

int main(int argc, char **argv)
{
        Service s = {.lose_sum = 500};
        struct mosquitto *mosq;
        int rc;

        if (argc < 5) {
                fprintf(stderr, "usage: fast-stream PORT USER PASSWORD FILE [LOSE_PERMILLE]\n");
                return 2;
        }
        if (argc > 5)
                s.lose_permille = (unsigned)atoi(argv[5]);
        s.message = malloc(BLOCK_MAX + HEAD_MAX + 2 * TOKEN_MAX);
        if (!s.message || open_image(&s, argv[4]) < 0) {
                fprintf(stderr, "fast-stream: %s: %s\n", argv[4], strerror(errno));
                return 1;
        }
        (void)mosquitto_lib_init();
        mosq = mosquitto_new("fast-stream", true, &s);
        if (!mosq || mosquitto_username_pw_set(mosq, argv[2], argv[3]) != MOSQ_ERR_SUCCESS)
                return 1;
        (void)mosquitto_int_option(mosq, MOSQ_OPT_TCP_NODELAY, 1);
        mosquitto_connect_callback_set(mosq, on_connect);
        mosquitto_subscribe_callback_set(mosq, on_subscribe);
        mosquitto_message_callback_set(mosq, on_message);
        rc = mosquitto_connect(mosq, "127.0.0.1", atoi(argv[1]), 60);
        if (rc != MOSQ_ERR_SUCCESS) {
                fprintf(stderr, "fast-stream: %s\n", mosquitto_strerror(rc));
                return 1;
        }
        rc = serve(mosq);
        printf("%lu requests, %lu blocks sent, %lu lost\n", s.n_requests, s.n_sent, s.n_lost);
        mosquitto_destroy(mosq);
        (void)mosquitto_lib_cleanup();
        return rc;
}
