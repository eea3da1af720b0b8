/* The values of the dirty pool protocol, decoded in C from docs/protocol.md (sections 4 to 7).
 *
 * An example and a test, not a product. It reads one case a line from standard input,
 *     max_length max_items max_depth extensions hex
 * and answers each with one line: the value in the notation of the golden vectors (section 10), as JSON, or
 *     error kind offset
 * Build: cc -O2 -std=c99 -Wall -Wextra -o decode decode.c
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const uint8_t *data;
    size_t pos, end;
    uint64_t max_length, max_items, max_depth;
    int extensions;
    const char *error; /* NULL while all is well */
    size_t at;         /* of the error */
    char *out;         /* the JSON so far */
    size_t used, room;
} Decoder;

static void put(Decoder *d, const char *text, size_t size) {
    if (d->used + size + 1 > d->room) {
        d->room = (d->used + size + 1) * 2;
        d->out = realloc(d->out, d->room);
        if (!d->out) abort();
    }
    memcpy(d->out + d->used, text, size);
    d->used += size;
    d->out[d->used] = 0;
}

static void say(Decoder *d, const char *text) { put(d, text, strlen(text)); }

static void say_hex(Decoder *d, const uint8_t *data, size_t size) {
    char two[3];
    for (size_t i = 0; i < size; i++) {
        snprintf(two, sizeof two, "%02x", data[i]);
        put(d, two, 2);
    }
}

static int fail(Decoder *d, const char *kind, size_t at) {
    d->error = kind;
    d->at = at;
    return 0;
}

static uint64_t big(const uint8_t *p, int size) {
    uint64_t n = 0;
    while (size--) n = n << 8 | *p++;
    return n;
}

/* Read the u32 behind a type code. */
static int read_size(Decoder *d, size_t at, uint64_t *size) {
    if (d->end - d->pos < 4) return fail(d, "truncated", at);
    *size = big(d->data + d->pos, 4);
    d->pos += 4;
    return 1;
}

static int read_bytes(Decoder *d, size_t at, const uint8_t **bytes, uint64_t *size) {
    if (!read_size(d, at, size)) return 0;
    if (*size > d->max_length) return fail(d, "too_long", at);
    if (*size > d->end - d->pos) return fail(d, "truncated", at);
    *bytes = d->data + d->pos;
    d->pos += *size;
    return 1;
}

static int read_count(Decoder *d, size_t at, uint64_t room, uint64_t *count) {
    if (!read_size(d, at, count)) return 0;
    if (*count > d->max_items) return fail(d, "too_many_items", at);
    if (room < 1) return fail(d, "too_deep", at);
    return 1;
}

/* The length of the UTF-8 character at p, 0 if it is none. */
static int utf8_character(const uint8_t *p, uint64_t left) {
    uint8_t low = 0x80, high = 0xbf;
    int more;
    if (*p < 0x80) return 1;
    if (*p >= 0xc2 && *p <= 0xdf) more = 1;
    else if (*p >= 0xe0 && *p <= 0xef) more = 2;
    else if (*p >= 0xf0 && *p <= 0xf4) more = 3;
    else return 0;
    if (*p == 0xe0) low = 0xa0;
    if (*p == 0xed) high = 0x9f;
    if (*p == 0xf0) low = 0x90;
    if (*p == 0xf4) high = 0x8f;
    if (left < (uint64_t)more + 1 || p[1] < low || p[1] > high) return 0;
    for (int i = 2; i <= more; i++)
        if (p[i] < 0x80 || p[i] > 0xbf) return 0;
    return more + 1;
}

static int read_text(Decoder *d, size_t at) {
    const uint8_t *p;
    uint64_t size, i;
    int step;
    char escape[8];
    if (!read_bytes(d, at, &p, &size)) return 0;
    for (i = 0; i < size; i += (uint64_t)step)
        if (!(step = utf8_character(p + i, size - i))) return fail(d, "bad_utf8", at);
    say(d, "\"");
    for (i = 0; i < size; i++) {
        if (p[i] < 0x20 || p[i] == '"' || p[i] == '\\') {
            snprintf(escape, sizeof escape, "\\u%04x", p[i]);
            say(d, escape);
        } else
            put(d, (const char *)p + i, 1);
    }
    say(d, "\"");
    return 1;
}

/* A two's complement number of any size, in decimal. */
static void say_integer(Decoder *d, const uint8_t *p, size_t size) {
    uint8_t *n = malloc(size + 1);
    char *digits = malloc(size * 3 + 2);
    size_t used = 0, i;
    int negative = p[0] >> 7, rest, carry = 1;
    if (!n || !digits) abort();
    memcpy(n, p, size);
    if (negative)
        for (i = size; i-- > 0;) {
            int byte = (uint8_t)~n[i] + carry;
            n[i] = (uint8_t)byte;
            carry = byte >> 8;
        }
    do {
        rest = 0;
        int any = 0;
        for (i = 0; i < size; i++) {
            int part = rest << 8 | n[i];
            n[i] = (uint8_t)(part / 10);
            rest = part % 10;
            any |= n[i];
        }
        digits[used++] = (char)('0' + rest);
        if (!any) break;
    } while (1);
    if (negative) digits[used++] = '-';
    while (used) put(d, &digits[--used], 1);
    free(n);
    free(digits);
}

static int digits(const char **p) {
    const char *start = *p;
    while (**p >= '0' && **p <= '9') ++*p;
    return (int)(*p - start);
}

static int is_decimal(const char *p) {
    int count;
    if (*p == '-') p++;
    if (!strcmp(p, "Infinity")) return 1;
    if (!strncmp(p, "sNaN", 4)) p++;
    if (!strncmp(p, "NaN", 3)) {
        p += 3;
        digits(&p);
        return !*p;
    }
    if (!digits(&p)) return 0;
    if (*p == '.') {
        p++;
        if (!digits(&p)) return 0;
    }
    if (*p == 'E') {
        p++;
        if (*p == '+' || *p == '-') p++;
        count = digits(&p);
        if (count < 1 || count > 18) return 0;
    }
    return !*p;
}

static const struct { const char *name; unsigned size; } NUMBERS[] = {
    {NULL, 0}, {"bool", 1}, {"int8", 1}, {"uint8", 1}, {"int16", 2}, {"uint16", 2}, {"int32", 4},
    {"uint32", 4}, {"int64", 8}, {"uint64", 8}, {"float16", 2}, {"float32", 4}, {"float64", 8},
};

static int say_array(Decoder *d, const uint8_t *p, uint64_t size) {
    char number[32];
    uint64_t left, total, i;
    if (size < 2 || p[0] < 1 || p[0] > 12 || p[1] > 32 || size < 2u + 4u * p[1]) return 0;
    left = size - 2 - 4u * p[1];
    total = NUMBERS[p[0]].size;
    for (i = 0; i < p[1]; i++) {
        uint64_t n = big(p + 2 + 4 * i, 4);
        /* Only a later zero can bring what has grown beyond all bytes back into range. */
        if (n && total > UINT64_MAX / n) total = UINT64_MAX;
        else total *= n;
    }
    if (total != left) return 0;
    for (i = 0; p[0] == 1 && i < left; i++)
        if (p[size - left + i] > 1) return 0;
    say(d, "{\"array\":{\"type\":\"");
    say(d, NUMBERS[p[0]].name);
    say(d, "\",\"shape\":[");
    for (i = 0; i < p[1]; i++) {
        snprintf(number, sizeof number, "%s%" PRIu64, i ? "," : "", big(p + 2 + 4 * i, 4));
        say(d, number);
    }
    say(d, "],\"data\":\"");
    say_hex(d, p + size - left, left);
    say(d, "\"}}");
    return 1;
}

static int say_datetime(Decoder *d, const uint8_t *p, uint64_t size) {
    char text[96];
    if (size != 12) return 0;
    int64_t microseconds = (int64_t)big(p, 8);
    int32_t offset = (int32_t)(uint32_t)big(p + 8, 4);
    if (microseconds < INT64_C(-62135596800000000) || microseconds > INT64_C(253402300799999999)) return 0;
    if (offset != INT32_MIN && (offset <= -86400 || offset >= 86400)) return 0;
    snprintf(text, sizeof text, "{\"datetime\":{\"microseconds\":\"%" PRId64 "\",\"offset\":", microseconds);
    say(d, text);
    if (offset == INT32_MIN) strcpy(text, "null}}");
    else snprintf(text, sizeof text, "%" PRId32 "}}", offset);
    say(d, text);
    return 1;
}

static int say_decimal(Decoder *d, const uint8_t *p, uint64_t size) {
    char *text = malloc(size + 1);
    int good;
    if (!text) abort();
    memcpy(text, p, size);
    text[size] = 0;
    good = strlen(text) == size && is_decimal(text);
    if (good) {
        say(d, "{\"decimal\":\"");
        say(d, text);
        say(d, "\"}");
    }
    free(text);
    return good;
}

static int read_value(Decoder *d, uint64_t room, int *hashable);

static int read_items(Decoder *d, uint64_t count, uint64_t room, int *hashable) {
    *hashable = 1;
    say(d, "[");
    for (uint64_t i = 0; i < count; i++) {
        int item;
        if (i) say(d, ",");
        if (!read_value(d, room - 1, &item)) return 0;
        *hashable &= item;
    }
    say(d, "]");
    return 1;
}

static int read_set(Decoder *d, size_t at, uint64_t size, int frozen, uint64_t room) {
    size_t outer = d->end;
    uint64_t count;
    int items;
    if (size < 4) return fail(d, "bad_extension", at);
    d->end = d->pos;
    d->pos -= size;
    if (!read_count(d, at, room, &count)) return 0;
    say(d, frozen ? "{\"frozenset\":" : "{\"set\":");
    if (!read_items(d, count, room, &items)) return 0;
    say(d, "}");
    if (d->pos != d->end || !items) return fail(d, "bad_extension", at);
    d->end = outer;
    return 1;
}

static int read_extension(Decoder *d, size_t at, uint8_t code, uint64_t room, int *hashable) {
    const uint8_t *p;
    uint64_t size;
    int good = 0;
    if (!d->extensions) return fail(d, "forbidden_code", at);
    if (!read_bytes(d, at, &p, &size)) return 0;
    *hashable = code != 0x31 && code != 0x35;
    if (code >= 0x35) return read_set(d, at, size, code == 0x36, room);
    if (code == 0x31) good = say_array(d, p, size);
    if (code == 0x32) good = say_datetime(d, p, size);
    if (code == 0x33) {
        good = say_decimal(d, p, size);
        *hashable = !memchr(p, 's', size); /* a signalling NaN */
    }
    if (code == 0x30 && size >= 9 && !((p[0] == 0 || p[0] == 0xff) && p[0] >> 7 == p[1] >> 7)) {
        good = 1;
        say(d, "{\"integer\":\"");
        say_integer(d, p, size);
        say(d, "\"}");
    }
    if (code == 0x34 && size == 16) {
        good = 1;
        say(d, "{\"uuid\":\"");
        say_hex(d, p, size);
        say(d, "\"}");
    }
    return good ? 1 : fail(d, "bad_extension", at);
}

static int read_dict(Decoder *d, size_t at, uint64_t room) {
    uint64_t count;
    int item;
    if (!read_count(d, at, room, &count)) return 0;
    say(d, "{\"dict\":[");
    for (uint64_t i = 0; i < count; i++) {
        size_t key = d->pos;
        if (key == d->end) return fail(d, "truncated", key);
        if (d->data[d->pos++] != 0x11) return fail(d, "key_not_str", key);
        say(d, i ? ",[" : "[");
        if (!read_text(d, key)) return 0;
        say(d, ",");
        if (!read_value(d, room - 1, &item)) return 0;
        say(d, "]");
    }
    say(d, "]}");
    return 1;
}

static int read_value(Decoder *d, uint64_t room, int *hashable) {
    size_t at = d->pos;
    const uint8_t *p;
    uint64_t size;
    char number[48];
    *hashable = 1;
    if (at == d->end) return fail(d, "truncated", at);
    uint8_t code = d->data[d->pos++];
    size_t fixed = code == 0x01 ? 1 : code == 0x05 || code == 0x06 ? 8 : 0;
    if (d->end - d->pos < fixed) return fail(d, "truncated", at);
    p = d->data + d->pos;
    d->pos += fixed;
    switch (code) {
    case 0x00: say(d, "null"); return 1;
    case 0x01: say(d, *p ? "true" : "false"); return 1;
    case 0x05:
        snprintf(number, sizeof number, "{\"int\":\"%" PRId64 "\"}", (int64_t)big(p, 8));
        say(d, number);
        return 1;
    case 0x06:
        snprintf(number, sizeof number, "{\"float\":\"%016" PRIx64 "\"}", big(p, 8));
        say(d, number);
        return 1;
    case 0x10:
        if (!read_bytes(d, at, &p, &size)) return 0;
        say(d, "{\"bytes\":\"");
        say_hex(d, p, size);
        say(d, "\"}");
        return 1;
    case 0x11: return read_text(d, at);
    case 0x20: return read_count(d, at, room, &size) && read_items(d, size, room, hashable);
    case 0x21: *hashable = 0; return read_dict(d, at, room);
    default:
        if (code < 0x30 || code > 0x36) return fail(d, "unknown_code", at);
        return read_extension(d, at, code, room, hashable);
    }
}

static size_t from_hex(const char *hex, uint8_t *data) {
    size_t size = 0;
    unsigned byte;
    while (sscanf(hex + 2 * size, "%2x", &byte) == 1 && hex[2 * size]) data[size++] = (uint8_t)byte;
    return size;
}

int main(void) {
    size_t capacity = 1 << 20;
    char *line = malloc(capacity), *hex;
    uint8_t *data = malloc(capacity / 2);
    if (!line || !data) abort();
    while (fgets(line, (int)capacity, stdin)) {
        Decoder d = {0};
        int used, hashable;
        if (sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %d %n", &d.max_length, &d.max_items, &d.max_depth,
                   &d.extensions, &used) < 4) return 2;
        hex = line + used;
        hex[strcspn(hex, "\n")] = 0;
        d.data = data;
        d.end = from_hex(hex, data);
        size_t whole = d.end;
        put(&d, "", 0);
        if (read_value(&d, d.max_depth, &hashable) && d.pos != whole) fail(&d, "trailing", d.pos);
        if (d.error) printf("error %s %zu\n", d.error, d.at);
        else printf("%s\n", d.out);
        free(d.out);
    }
    free(line);
    free(data);
    return 0;
}
