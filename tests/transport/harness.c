#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "unit.h"

static char folder[64];

static pid_t spawn(const char *const argv[], int output)
{
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                if (output >= 0)
                        (void)dup2(output, STDOUT_FILENO);
                execv(argv[0], (char *const *)(uintptr_t)argv);
                _exit(127);
        }
        return pid;
}

static void wait_for(pid_t pid, int *ret_status)
{
        int status = 0;

        while (waitpid(pid, &status, 0) < 0)
                assert_int_equal(errno, EINTR);
        if (ret_status)
                *ret_status = status;
}

void harness_enter(void)
{
        char script[512];
        const char *const argv[] = {script, folder, NULL};
        int status;

        (void)snprintf(script, sizeof(script), "%s/make-certs.sh", getenv("TRANSPORT_SCRIPTS"));
        (void)strcpy(folder, "/tmp/otad-transport-XXXXXX");
        assert_non_null(mkdtemp(folder));
        wait_for(spawn(argv, -1), &status);
        assert_int_equal(status, 0);
        assert_int_equal(chdir(folder), 0);
}

static int remove_one(const char *path, const struct stat *status _unused_, int kind _unused_,
                      struct FTW *ftw _unused_)
{
        return remove(path);
}

void harness_leave(void)
{
        assert_int_equal(chdir("/"), 0);
        assert_int_equal(nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static int run_once(sd_event *event, uint64_t deadline)
{
        uint64_t now = now_usec();

        if (now >= deadline)
                return 0;
        assert_true(sd_event_run(event, deadline - now) >= 0);
        return 1;
}

bool harness_run(sd_event *event, const bool *flag, uint64_t timeout_usec)
{
        uint64_t deadline = now_usec() + timeout_usec;

        while (!*flag)
                if (!run_once(event, deadline))
                        return false;
        return true;
}

unsigned harness_idle(sd_event *event, uint64_t usec)
{
        uint64_t deadline = now_usec() + usec;
        unsigned n = 0;

        while (run_once(event, deadline))
                n++;
        return n;
}

unsigned harness_free_port(void)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        socklen_t n = sizeof(address);

        assert_int_equal(bind(fd, (struct sockaddr *)&address, n), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &n), 0);
        return ntohs(address.sin_port);
}

bool harness_read_line(const HarnessProcess *process, char *line, size_t n_line)
{
        struct pollfd poll_fd = {.fd = process->output, .events = POLLIN};
        size_t n = 0;

        while (n + 1 < n_line) {
                if (poll(&poll_fd, 1, 5000) <= 0 || read(process->output, line + n, 1) != 1)
                        return false;
                if (line[n] == '\n')
                        break;
                n++;
        }
        line[n] = '\0';
        return true;
}

HarnessProcess harness_start_script(const char *script, const char *arg1, const char *arg2)
{
        HarnessProcess process;
        char path[512], line[64];
        const char *const argv[] = {getenv("PYTHON"), path, arg1, arg2, NULL};
        int fds[2];

        (void)snprintf(path, sizeof(path), "%s/%s", getenv("TRANSPORT_SCRIPTS"), script);
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        process.pid = spawn(argv, fds[1]);
        close_fd(fds[1]);
        process.output = fds[0];
        assert_true(harness_read_line(&process, line, sizeof(line)));
        process.port = (unsigned)strtoul(line, NULL, 10);
        assert_true(process.port > 0);
        return process;
}

static void wait_until_it_listens(unsigned port)
{
        struct sockaddr_in address = {
                .sin_family = AF_INET,
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                .sin_port = htons((uint16_t)port),
        };

        for (unsigned i = 0; i < 500; i++) {
                _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

                if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
                        return;
                assert_int_equal(usleep(10000), 0);
        }
        assert_true(false); /* it does not listen */
}

HarnessProcess harness_start_broker(unsigned port, const char *certificate)
{
        const char *const argv[] = {getenv("MOSQUITTO"), "-c", "broker.conf", NULL};
        HarnessProcess process = {.output = -1, .port = port > 0 ? port : harness_free_port()};
        FILE *file = fopen("broker.conf", "we");

        assert_non_null(file);
        (void)fprintf(file,
                      "listener %u 127.0.0.1\nuser root\nallow_anonymous true\npersistence false\nlog_type none\n"
                      "cafile ca.pem\ncertfile %s.pem\nkeyfile %s.key\nrequire_certificate true\n"
                      "max_queued_messages 0\n",
                      process.port, certificate, certificate);
        assert_int_equal(fclose(file), 0);
        process.pid = spawn(argv, -1);
        wait_until_it_listens(process.port);
        return process;
}

void harness_stop(HarnessProcess *process)
{
        assert_int_equal(kill(process->pid, SIGKILL), 0);
        wait_for(process->pid, NULL);
        close_fd(process->output);
        process->output = -1;
}

/* --- the name server; source of the message format: RFC 1035 section 4.1 --- */

/* The length of the question section's name and its fixed part; 0 where it is cut off. */
static size_t question_length(const uint8_t *question, size_t n)
{
        size_t i = 0;

        while (i < n && question[i] != 0)
                i += question[i] + 1U;
        return i + 5 <= n ? i + 5 : 0;
}

static int on_dns_query(sd_event_source *source _unused_, int fd, uint32_t revents _unused_, void *userdata)
{
        HarnessDns *dns = userdata;
        struct sockaddr_storage peer;
        socklen_t n_peer = sizeof(peer);
        uint8_t packet[1024];
        ssize_t n = recvfrom(fd, packet, 512, 0, (struct sockaddr *)&peer, &n_peer);
        size_t n_question, end;
        unsigned n_answers;
        bool is_a;

        dns->n_queries++;
        if (n < 17 || dns->n_queries <= dns->n_deaf || memmem(packet, (size_t)n, "silent", 6))
                return 0;
        n_question = question_length(packet + 12, (size_t)n - 12);
        assert_true(n_question > 0);
        is_a = packet[12 + n_question - 3] == 1;
        end = 12 + n_question;
        packet[2] = 0x85; /* an answer, authoritative */
        packet[3] = memmem(packet, (size_t)n, "nowhere", 7) ? 0x83 : 0x80;
        memset(packet + 6, 0, 6);
        n_answers = packet[3] != 0x80 ? 0 : is_a ? dns->n_answers : dns->n_answers_6;
        for (unsigned i = 0; i < n_answers; i++) {
                uint8_t last = (uint8_t)(dns->ascending ? i + 1 : n_answers - i);
                const uint8_t a[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, last};
                const uint8_t aaaa[] = {0xc0, 12,   0, 28, 0, 1, 0, 0, 0, 1, 0, 16, 0x20, 0x01,
                                        0x0d, 0xb8, 0, 0,  0, 0, 0, 0, 0, 0, 0, 0,  0,    last};
                size_t n_record = is_a ? sizeof(a) : sizeof(aaaa);

                memcpy(packet + end, is_a ? a : aaaa, n_record);
                end += n_record;
                packet[7]++;
        }
        assert_int_equal(sendto(fd, packet, end, 0, (struct sockaddr *)&peer, n_peer), end);
        return 0;
}

void harness_dns_start(HarnessDns *dns, sd_event *event, unsigned n_answers)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t n = sizeof(address);

        *dns = (HarnessDns){.n_answers = n_answers};
        dns->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_int_equal(bind(dns->fd, (struct sockaddr *)&address, n), 0);
        assert_int_equal(getsockname(dns->fd, (struct sockaddr *)&address, &n), 0);
        (void)snprintf(dns->servers, sizeof(dns->servers), "127.0.0.1:%u", ntohs(address.sin_port));
        assert_true(sd_event_add_io(event, &dns->source, dns->fd, EPOLLIN, on_dns_query, dns) >= 0);
}

void harness_dns_stop(HarnessDns *dns)
{
        sd_event_source_disable_unref(dns->source);
        close_fd(dns->fd);
}
