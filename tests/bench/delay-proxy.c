/*
 * delay-proxy: a long way between a device and the cloud, on the loopback. Each byte arrives half a round trip after it
 * was sent; on its way to the device it may also have to pass a link of so many bytes a second.
 *
 *   delay-proxy TARGET_PORT ROUND_TRIP_MSEC [BYTES_PER_SEC]
 *
 * Prints the port it listens on. What is under way is bounded as on a real path: a sender with more than QUEUE_BYTES
 * waiting has to wait itself. Ends with its standard input.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE_BYTES = 16384, CONNECTIONS_MAX = 8 };
#define QUEUE_BYTES (UINT64_C(32) << 20)

typedef struct Piece Piece;
struct Piece {
        Piece *next;
        uint64_t due_nsec;
        size_t n, sent;
        uint8_t data[PIECE_BYTES];
};

/* One direction. */
typedef struct Way {
        Piece *first, **last;
        uint64_t n_queued;
        uint64_t free_nsec; /* when the link has passed all that was given to it */
        uint64_t bytes_per_sec;
        bool ended, closed;
} Way;

typedef struct Connection {
        int fd[2];  /* device, cloud */
        Way way[2]; /* from the device, from the cloud */
} Connection;

static uint64_t delay_nsec;

static uint64_t now_nsec(void)
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* False: the connection is broken. */
static bool take_in(Way *way, int fd)
{
        while (!way->ended && way->n_queued < QUEUE_BYTES) {
                Piece *piece = malloc(sizeof(*piece));
                uint64_t now;
                ssize_t n;

                if (!piece)
                        return false;
                n = recv(fd, piece->data, sizeof(piece->data), 0);
                if (n <= 0) {
                        bool broken = n < 0 && errno != EAGAIN && errno != EINTR;

                        free(piece);
                        way->ended = n == 0;
                        return !broken;
                }
                now = now_nsec();
                if (way->free_nsec < now)
                        way->free_nsec = now;
                if (way->bytes_per_sec > 0)
                        way->free_nsec += (uint64_t)n * 1000000000 / way->bytes_per_sec;
                piece->next = NULL;
                piece->due_nsec = way->free_nsec + delay_nsec;
                piece->n = (size_t)n;
                piece->sent = 0;
                *way->last = piece;
                way->last = &piece->next;
                way->n_queued += (uint64_t)n;
        }
        return true;
}

static bool put_out(Way *way, int fd)
{
        uint64_t now = now_nsec();

        while (way->first && way->first->due_nsec <= now) {
                Piece *piece = way->first;
                ssize_t n = send(fd, piece->data + piece->sent, piece->n - piece->sent, MSG_NOSIGNAL);

                if (n < 0)
                        return errno == EAGAIN || errno == EINTR;
                piece->sent += (size_t)n;
                if (piece->sent < piece->n)
                        return true;
                way->n_queued -= piece->n;
                way->first = piece->next;
                if (!way->first)
                        way->last = &way->first;
                free(piece);
        }
        if (!way->first && way->ended && !way->closed) {
                way->closed = true;
                (void)shutdown(fd, SHUT_WR);
        }
        return true;
}

static void drop(Connection *c)
{
        for (unsigned i = 0; i < 2; i++) {
                while (c->way[i].first) {
                        Piece *piece = c->way[i].first;

                        c->way[i].first = piece->next;
                        free(piece);
                }
                (void)close(c->fd[i]);
                c->fd[i] = -1;
        }
}

static int open_socket(uint16_t port, bool listens)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (fd < 0 || (listens ? bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0
                               : connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)) {
                perror("delay-proxy");
                exit(1);
        }
        return fd;
}

static void prepare(int fd)
{
        int on = 1;

        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        (void)fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void accept_one(Connection *connections, int listener, uint16_t target, uint64_t bytes_per_sec)
{
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
                return;
        for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
                Connection *c = &connections[i];

                if (c->fd[0] >= 0)
                        continue;
                memset(c, 0, sizeof(*c));
                c->fd[0] = fd;
                c->fd[1] = open_socket(target, false);
                c->way[1].bytes_per_sec = bytes_per_sec;
                for (unsigned k = 0; k < 2; k++) {
                        c->way[k].last = &c->way[k].first;
                        prepare(c->fd[k]);
                }
                return;
        }
        (void)close(fd);
}

/* Until the next piece is due; whether somebody takes it is poll()'s. */
static uint64_t wait_nsec(const Connection *connections)
{
        uint64_t now = now_nsec(), wait = 1000000000;

        for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
                for (unsigned k = 0; k < 2 && connections[i].fd[0] >= 0; k++) {
                        const Piece *piece = connections[i].way[k].first;

                        if (piece && piece->due_nsec > now && piece->due_nsec - now < wait)
                                wait = piece->due_nsec - now;
                }
        return wait;
}

static void run(Connection *connections, int listener, uint16_t target, uint64_t bytes_per_sec)
{
        for (;;) {
                struct pollfd fds[2 + 2 * CONNECTIONS_MAX] = {{.fd = listener, .events = POLLIN},
                                                              {.fd = STDIN_FILENO, .events = POLLIN}};
                uint64_t now = now_nsec(), wait = wait_nsec(connections);
                struct timespec timeout = {.tv_sec = (time_t)(wait / 1000000000),
                                           .tv_nsec = (long)(wait % 1000000000)};

                for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
                        for (unsigned k = 0; k < 2; k++) {
                                const Connection *c = &connections[i];
                                struct pollfd *fd = &fds[2 + 2 * i + k];
                                const Piece *to_send = c->way[1 - k].first;

                                fd->fd = c->fd[k];
                                if (c->fd[k] < 0)
                                        continue;
                                if (!c->way[k].ended && c->way[k].n_queued < QUEUE_BYTES)
                                        fd->events |= POLLIN;
                                if (to_send && to_send->due_nsec <= now)
                                        fd->events |= POLLOUT;
                        }
                if (ppoll(fds, sizeof(fds) / sizeof(fds[0]), &timeout, NULL) < 0 && errno != EINTR)
                        return;
                if (fds[1].revents)
                        return;
                for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
                        Connection *c = &connections[i];

                        if (c->fd[0] < 0)
                                continue;
                        if (!take_in(&c->way[0], c->fd[0]) || !take_in(&c->way[1], c->fd[1]) ||
                            !put_out(&c->way[0], c->fd[1]) || !put_out(&c->way[1], c->fd[0]) ||
                            (c->way[0].closed && c->way[1].closed))
                                drop(c);
                }
                if (fds[0].revents)
                        accept_one(connections, listener, target, bytes_per_sec);
        }
}

int main(int argc, char **argv)
{
        Connection connections[CONNECTIONS_MAX];
        struct sockaddr_in address;
        socklen_t n = sizeof(address);
        int listener;

        if (argc < 3) {
                fprintf(stderr, "usage: delay-proxy TARGET_PORT ROUND_TRIP_MSEC [BYTES_PER_SEC]\n");
                return 2;
        }
        delay_nsec = strtoull(argv[2], NULL, 10) * 1000000 / 2;
        for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
                connections[i] = (Connection){.fd = {-1, -1}};
        listener = open_socket(0, true);
        if (getsockname(listener, (struct sockaddr *)&address, &n) < 0)
                return 1;
        printf("%u\n", ntohs(address.sin_port));
        (void)fflush(stdout);
        run(connections, listener, (uint16_t)atoi(argv[1]), argc > 3 ? strtoull(argv[3], NULL, 10) : 0);
        return 0;
}
