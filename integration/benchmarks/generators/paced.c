/* HTTP load at a constant rate, and the latency of each request: open loop, corrected for coordinated omission.
 *
 *   paced HOST PORT CONNECTIONS RATE SECONDS FILE
 *
 * Request k is due at k / RATE seconds, whatever the server does. It is sent by the first idle connection, and its latency
 * counts from when it was due, so that a stall is felt by all requests that a real crowd would have sent meanwhile. A
 * request that has no answer GRACE seconds after the end counts with the time that it has waited by then.
 * Prints one line of JSON; latencies in microseconds. It spins: give it a core of its own.
 *
 * load.py compiles and calls it. The requests of FILE (a line with the length, then the bytes) are sent in turn.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define GRACE 2.0
#define HEAD_LIMIT 65536
#define BUFFER (256 * 1024)

struct request { char *bytes; size_t length; };

enum stage { IDLE, HEAD, LENGTH, SIZE, DATA, TRAILER }; /* SIZE, DATA and TRAILER: of a chunked body */

struct connection {
    int fd;
    enum stage stage;
    const struct request *request;
    size_t sent;
    double due;                 /* of the request in flight */
    size_t held;                /* bytes of the head so far */
    char head[HEAD_LIMIT + 1];
    uint64_t left;              /* bytes of the body, or of the chunk and its line end */
    int size_ended;             /* the chunk's size is read: skip its extensions */
    int line;                   /* bytes of this trailer line */
    int closes, good;
};

static struct sockaddr_in address;
static struct request *requests;
static size_t request_count, next_request;
static struct connection *connections, **idle;
static int connection_count, idle_count, poller;
static uint32_t *latencies;     /* in microseconds */
static size_t done, errors;

static void fail(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void load(const char *path) {
    FILE *file = fopen(path, "rb");
    size_t length, room = 0;
    if (!file) fail(path);
    while (fscanf(file, "%zu", &length) == 1 && fgetc(file) == '\n') {
        if (request_count == room) {
            room = room ? room * 2 : 64;
            requests = realloc(requests, room * sizeof *requests);
        }
        char *bytes = requests ? malloc(length) : NULL;
        if (!bytes || fread(bytes, 1, length, file) != length) { fprintf(stderr, "%s ends early\n", path); exit(1); }
        requests[request_count++] = (struct request){bytes, length};
    }
    fclose(file);
    if (!request_count) { fprintf(stderr, "%s holds no request\n", path); exit(1); }
}

static void open_connection(struct connection *c) {
    int yes = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event)) fail("epoll_ctl");
    c->stage = IDLE;
}

static void reopen(struct connection *c) {
    close(c->fd);
    open_connection(c);
}

static void release(struct connection *c) { idle[idle_count++] = c; }

static void broken(struct connection *c) {
    int busy = c->stage != IDLE;
    errors += busy;
    reopen(c);
    if (busy) release(c);
}

static void push(struct connection *c) {
    while (c->sent < c->request->length) {
        ssize_t n = send(c->fd, c->request->bytes + c->sent, c->request->length - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) broken(c);
            return;
        }
        c->sent += n;
    }
}

static void start(double due) {
    /* the one that has been idle for longest, as a crowd of clients would do it */
    struct connection *c = idle[0];
    memmove(idle, idle + 1, --idle_count * sizeof *idle);
    c->request = &requests[next_request++ % request_count];
    c->sent = c->held = 0;
    c->stage = HEAD;
    c->due = due;
    push(c);
}

static void record(double seconds) { latencies[done++] = seconds < 4000 ? seconds * 1e6 : 4000000000u; }

static void answered(struct connection *c) {
    if (c->good) record(now() - c->due); else errors++;
    c->stage = IDLE;
    if (c->closes) reopen(c);
    release(c);
}

/* Reads the head: where the body ends, and whether the connection does. */
static void parse_head(struct connection *c) {
    c->good = !strncmp(c->head, "HTTP/1.1 200", 12);
    c->closes = strcasestr(c->head, "\r\nconnection: close") != NULL;
    const char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (length) {
        c->left = strtoull(length + 17, NULL, 10);
        c->stage = LENGTH;
    } else if (strcasestr(c->head, "\r\ntransfer-encoding: chunked")) {
        c->left = c->size_ended = 0;
        c->stage = SIZE;
    } else {
        fprintf(stderr, "an answer with neither Content-Length nor chunks: %.300s\n", c->head);
        exit(1);
    }
}

/* Takes some bytes of a body; returns how many. The stage is IDLE when the answer is whole. */
static size_t take_body(struct connection *c, const char *data, size_t size) {
    size_t at = 0;
    while (at < size) {
        if (c->stage == LENGTH || c->stage == DATA) {
            size_t n = size - at < c->left ? size - at : c->left;
            at += n;
            if ((c->left -= n)) continue;
            if (c->stage == LENGTH) { c->stage = IDLE; return at; }
            c->stage = SIZE;
            c->size_ended = 0;
        } else if (c->stage == SIZE) {
            char byte = data[at++];
            int digit = byte >= '0' && byte <= '9' ? byte - '0' : (byte | 32) >= 'a' && (byte | 32) <= 'f' ? (byte | 32) - 'a' + 10 : -1;
            if (byte == '\n') {
                c->stage = c->left ? DATA : TRAILER;
                c->left += 2;
                c->line = 0;
            } else if (digit < 0) {
                c->size_ended = 1;
            } else if (!c->size_ended) {
                c->left = c->left * 16 + digit;
            }
        } else { /* TRAILER: lines up to an empty one */
            char byte = data[at++];
            if (byte == '\n') {
                if (!c->line) { c->stage = IDLE; return at; }
                c->line = 0;
            } else if (byte != '\r') {
                c->line++;
            }
        }
    }
    return at;
}

static void receive(struct connection *c) {
    static char buffer[BUFFER];
    for (;;) {
        ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
        if (n <= 0) {
            if (n == 0 || errno != EAGAIN) broken(c);
            return;
        }
        if (c->stage == IDLE) { broken(c); return; } /* an answer that nobody asked for */
        char *data = buffer;
        size_t size = n;
        if (c->stage == HEAD) {
            size_t before = c->held, room = HEAD_LIMIT - c->held, copied = size < room ? size : room;
            memcpy(c->head + c->held, data, copied);
            c->head[c->held += copied] = 0;
            char *end = strstr(c->head, "\r\n\r\n");
            if (!end) {
                if (c->held == HEAD_LIMIT) { fprintf(stderr, "a head over %d bytes\n", HEAD_LIMIT); exit(1); }
                continue;
            }
            end[2] = 0;
            size_t used = end + 4 - c->head - before;
            data += used;
            size -= used;
            parse_head(c);
            if (c->stage == LENGTH && !c->left) c->stage = IDLE;
        }
        if (c->stage != IDLE) take_body(c, data, size);
        if (c->stage == IDLE) { answered(c); return; }
    }
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double quantile(double q) { return done ? latencies[(size_t)(q * (done - 1) + 0.5)] : 0.0; }

int main(int argc, char **argv) {
    if (argc != 7) { fprintf(stderr, "usage: paced HOST PORT CONNECTIONS RATE SECONDS FILE\n"); return 2; }
    double rate = atof(argv[4]), seconds = atof(argv[5]);
    size_t total = (size_t)(rate * seconds), issued = 0;
    connection_count = atoi(argv[3]);
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    if (connection_count < 1 || rate <= 0 || !total || !inet_pton(AF_INET, argv[1], &address.sin_addr)) {
        fprintf(stderr, "HOST is an IPv4 address; CONNECTIONS and RATE * SECONDS are at least 1\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    load(argv[6]);
    latencies = calloc(total, sizeof *latencies);
    connections = calloc(connection_count, sizeof *connections);
    idle = calloc(connection_count, sizeof *idle);
    if (!latencies || !connections || !idle || (poller = epoll_create1(0)) < 0) fail("start");
    for (int i = 0; i < connection_count; i++) {
        open_connection(&connections[i]);
        release(&connections[i]);
    }
    struct epoll_event events[256];
    double began = now() + 0.01, time;
    while ((time = now()) < began + seconds + GRACE && done + errors < total) {
        while (issued < total && idle_count && began + issued / rate <= time) {
            start(began + issued / rate);
            issued++;
        }
        int count = epoll_wait(poller, events, 256, 0);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->stage != IDLE && events[i].events & EPOLLOUT) push(c);
            if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) receive(c);
        }
    }
    double took = now() - began;
    size_t answers = done;
    for (int i = 0; i < connection_count; i++)
        if (connections[i].stage != IDLE && done < total) record(now() - connections[i].due);
    while (issued < total && done < total) record(now() - (began + issued++ / rate));
    qsort(latencies, done, sizeof *latencies, compare);
    printf("{\"requests\": %zu, \"unanswered\": %zu, \"errors\": %zu, \"seconds\": %.3f, \"p50\": %.0f, \"p90\": %.0f, "
           "\"p99\": %.0f, \"p999\": %.0f, \"max\": %.0f}\n",
           answers, done - answers, errors, took, quantile(.5), quantile(.9), quantile(.99), quantile(.999), quantile(1));
    return 0;
}
