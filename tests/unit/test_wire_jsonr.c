/*
 * Two readers, one meaning: whatever jsonr_read() takes, prescan and jansson take too, and it means
 * the same to them; and it takes all that is not odd in the ways that jsonr.h names.  Checked on
 * every short string, on generated documents, and on those with a few bytes changed.
 *
 * SLOT_SEED=n repeats a run, SLOT_ROUNDS=n makes it longer.
 */
#include "wire/jsonr.h"
#include "wire/prescan.h"
#include "wire/text.h"
#include "wire_fixture.h"

#include <time.h>

#define TEXT_MAX 65536
#define GROWS_TO 1000 /* no container is begun beyond */

static uint64_t state, seed;
static struct arena arena;

/* A document on its way, and whether it has something that jsonr_read() may leave to jansson. */
static char text[TEXT_MAX];
static size_t used;
static bool odd, wrong;

static void
setup(void)
{
	const char *given = getenv("SLOT_SEED");

	seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
	state = seed * 2 + 1;
	memset(&arena, 0, sizeof(arena));
}

static void
teardown(void)
{
	arena_free(&arena);
}

static unsigned
random_below(unsigned n)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(state >> 33) % n;
}

/* ---- the property ---- */

static bool
is_same(const struct jsonr *a, const struct jsonr *b)
{
	const struct jsonr *x = NULL, *y = NULL;

	if (a->type != b->type || a->len != b->len)
		return false;
	switch (a->type) {
	case JSON_STRING:
		return memcmp(a->text, b->text, a->len + 1) == 0;
	case JSON_INTEGER:
		return a->integer == b->integer;
	case JSON_REAL:
		return a->real == b->real;
	case JSON_ARRAY:
	case JSON_OBJECT:
		for (x = a->first, y = b->first; x != NULL && y != NULL; x = x->next, y = y->next) {
			if (!is_same(x, y))
				return false;
			if (a->type == JSON_OBJECT &&
			    (x->name_len != y->name_len ||
				memcmp(x->name, y->name, x->name_len + 1) != 0))
				return false;
		}
		return x == NULL && y == NULL;
	case JSON_TRUE:
	case JSON_FALSE:
	case JSON_NULL:
		return true;
	}
	return false;
}

static const struct jsonr *
read_slowly(const char *line, size_t len)
{
	json_t *json = prescan(line, len) == PRESCAN_OK
	    ? json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL)
	    : NULL;
	const struct jsonr *value = json != NULL ? jsonr_of(json, &arena) : NULL;

	json_decref(json);
	return value;
}

enum taken { NEITHER, SLOW, BOTH };

static enum taken
check(const char *line, size_t len)
{
	/* On the heap, and not a byte too many: reading past the end is seen. */
	char *copy = malloc(len > 0 ? len : 1);
	const struct jsonr *fast, *slow;
	enum taken taken;

	memcpy(copy, line, len);
	fast = jsonr_read(copy, len, &arena);
	ck_assert_msg(memcmp(copy, line, len) == 0, "the line was written to");
	slow = read_slowly(copy, len);
	free(copy);
	ck_assert_msg(fast == NULL || slow != NULL, "SLOT_SEED=%llu: only we take %.*s",
	    (unsigned long long)seed, (int)len, line);
	ck_assert_msg(fast == NULL || is_same(fast, slow), "SLOT_SEED=%llu: it's not %.*s",
	    (unsigned long long)seed, (int)len, line);
	taken = fast != NULL ? BOTH : slow != NULL ? SLOW : NEITHER;
	arena_free(&arena);
	return taken;
}

static enum taken
check_text(const char *line)
{
	return check(line, strlen(line));
}

/* ---- documents ---- */

static void
add(const char *piece, size_t len)
{
	ck_assert_uint_lt(used + len, TEXT_MAX);
	memcpy(text + used, piece, len);
	used += len;
}

static void
add_text(const char *piece)
{
	add(piece, strlen(piece));
}

static void
add_space(void)
{
	static const char *const spaces[] = { " ", "\t", "\r", "\n", "  \t " };

	if (random_below(8) == 0)
		add_text(spaces[random_below(5)]);
}

static void
add_piece_of_string(void)
{
	static const char *const plain[] = { "a", "x y", "/", "{", "]", ",", "\x7f", "é", "€", "😀",
		"\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t", "jobs", "12", "\xed\x9f\xbf",
		"\xef\xbf\xbf", "\xf4\x8f\xbf\xbf" };
	static const char *const strange[] = { "\\u00e9", "\\u0000", "\\ud83d\\ude00", "\\u0041" };
	static const char *const bad[] = { "\\ud83d", "\\x", "\\", "\x01", "\xff", "\xc0\x80",
		"\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\n", "\\u12", "\x80", "\xf8\x88\x80" };
	unsigned kind = random_below(600);

	if (kind == 0) {
		add_text(bad[random_below(sizeof(bad) / sizeof(bad[0]))]);
		wrong = true;
	} else if (kind < 8) {
		add_text(strange[random_below(sizeof(strange) / sizeof(strange[0]))]);
		odd = true;
	} else {
		add_text(plain[random_below(sizeof(plain) / sizeof(plain[0]))]);
	}
}

static void
add_string(void)
{
	unsigned n = random_below(6);

	add_text("\"");
	while (n-- > 0)
		add_piece_of_string();
	add_text("\"");
}

static void
add_number(void)
{
	static const char *const strange[] = { "1.5", "0.0", "1e5", "1E-3", "-2.25e+1",
		"1000000000000000000", "9223372036854775807", "-9223372036854775808", "0e0" };
	static const char *const bad[] = { "01", "-", "+1", "1.", ".5", "1e", "0x1", "-01", "00",
		"9223372036854775808", "1e999", "--1", "1a", "NaN", "Infinity" };
	static const char *const plain[] = { "0", "-0", "7", "-1", "999999999999999999",
		"-999999999999999999", "9007199254740991", "123456789012345678" };
	unsigned kind = random_below(60);
	char number[24];

	if (kind == 0) {
		add_text(bad[random_below(sizeof(bad) / sizeof(bad[0]))]);
		wrong = true;
	} else if (kind == 1) {
		add_text(strange[random_below(sizeof(strange) / sizeof(strange[0]))]);
		odd = true;
	} else if (kind < 30) {
		add_text(plain[random_below(sizeof(plain) / sizeof(plain[0]))]);
	} else {
		snprintf(number, sizeof(number), "%d", (int)random_below(1000000) - 500000);
		add_text(number);
	}
}

static void
add_word(void)
{
	static const char *const words[] = { "true", "false", "null" };
	static const char *const bad[] = { "tru", "falsee", "nul", "True", "x", "", "truefalse" };

	if (random_below(60) == 0) {
		add_text(bad[random_below(sizeof(bad) / sizeof(bad[0]))]);
		wrong = true;
	} else {
		add_text(words[random_below(3)]);
	}
}

static void add_value(unsigned depth);

static void
add_members(unsigned n, unsigned depth)
{
	char name[24];

	for (unsigned i = 0; i < n; i++) {
		if (i > 0)
			add_text(random_below(300) == 0 ? wrong = true, ",," : ",");
		add_space();
		/* (any member's name may be repeated, or be odd: nothing is expected then) */
		snprintf(name, sizeof(name), "\"m%u\"", random_below(200) == 0 ? 0 : i);
		wrong |= i > 0 && strcmp(name, "\"m0\"") == 0;
		add_text(name);
		add_space();
		add_text(random_below(300) == 0 ? wrong = true, ";" : ":");
		add_space();
		add_value(depth + 1);
		add_space();
	}
}

static void
add_container(unsigned depth)
{
	bool object = random_below(2) == 0;
	unsigned n = random_below(5);

	if (depth >= 40)
		n = 0;
	else if (random_below(60) == 0)
		n = 60 + random_below(8);
	odd |= object && n > 64;
	wrong |= depth >= PRESCAN_DEPTH_MAX;
	add_text(object ? "{" : "[");
	if (object) {
		add_members(n, depth);
	} else {
		for (unsigned i = 0; i < n; i++) {
			add_text(i > 0 ? "," : "");
			add_space();
			add_value(depth + 1);
			add_space();
		}
	}
	add_space();
	wrong |= random_below(300) == 0;
	add_text(wrong && random_below(4) == 0 ? "" : object ? "}" : "]");
}

static void
add_value(unsigned depth)
{
	unsigned kind = random_below(10);

	if (used < GROWS_TO && (kind < 4 || depth == 0))
		add_container(depth);
	else if (kind < 7)
		add_string();
	else if (kind < 9)
		add_number();
	else
		add_word();
}

/* Straight down: depths around the limit. */
static void
add_tower(void)
{
	unsigned height = 28 + random_below(8), i;

	for (i = 0; i < height; i++)
		add_text(random_below(2) == 0 ? "[" : "{\"k\":");
	wrong |= height > PRESCAN_DEPTH_MAX;
	add_text("1");
	for (i = used; i > 0 && i-- > 0;) {
		if (text[i] == '[')
			add_text("]");
		else if (text[i] == '{')
			add_text("}");
	}
}

static void
make_document(void)
{
	used = 0;
	odd = wrong = false;
	add_space();
	if (random_below(20) == 0)
		add_tower();
	else
		add_value(0);
	add_space();
	if (random_below(200) == 0) {
		add_text("x");
		wrong = true;
	}
}

static void
damage_document(void)
{
	static const char bytes[] = "\"\\{}[]:,-0189.eEtfnu \n\x01\x80\xc3\xed\xf4\xff";
	unsigned n = 1 + random_below(3);

	while (n-- > 0 && used > 0) {
		size_t at = random_below((unsigned)used);
		/* (a NUL, too) */
		char byte = bytes[random_below(sizeof(bytes))];

		switch (random_below(4)) {
		case 0:
			text[at] = byte;
			break;
		case 1:
			memmove(text + at, text + at + 1, used - at - 1);
			used--;
			break;
		case 2:
			if (used + 1 == TEXT_MAX)
				break;
			memmove(text + at + 1, text + at, used - at);
			text[at] = byte;
			used++;
			break;
		default:
			used = at;
		}
	}
}

START_TEST(generated_documents_mean_the_same)
{
	const char *given = getenv("SLOT_ROUNDS");
	long rounds = given != NULL ? atol(given) : 10000, plain = 0, all = 0;

	for (long i = 0; i < rounds; i++) {
		enum taken taken;

		make_document();
		taken = check(text, used);
		ck_assert_msg(odd || wrong || taken == BOTH, "SLOT_SEED=%llu: not taken: %.*s",
		    (unsigned long long)seed, (int)used, text);
		plain += taken == BOTH;
		all += taken != NEITHER;
		for (int k = 0; k < 4; k++) {
			damage_document();
			check(text, used);
		}
	}
	/* Neither way is hardly ever gone. */
	ck_assert_int_gt(plain, rounds / 4);
	ck_assert_int_gt(all - plain, rounds / 100);
	ck_assert_int_gt(rounds - all, rounds / 100);
}
END_TEST

/* Every string of one and of two bytes, alone and as a name; three and four at the borders. */
START_TEST(short_strings_mean_the_same)
{
	static const unsigned char borders[] = { 0x00, 0x22, 0x5c, 0x75, 0x7f, 0x80, 0x8f, 0x90, 0x9f,
		0xa0, 0xbf, 0xc0, 0xff };
	char line[16];
	int taken = 0;

	for (unsigned first = 0; first < 256; first++) {
		int len = snprintf(line, sizeof(line), "[\"%c\"]", (int)first);

		taken += check(line, (size_t)len) == BOTH;
		for (unsigned second = 0; second < 256; second++) {
			memcpy(line, "{\"xy\":1}", 8);
			line[2] = (char)first;
			line[3] = (char)second;
			taken += check(line, 8) == BOTH;
			memcpy(line, "[\"xy\"]", 6);
			line[2] = (char)first;
			line[3] = (char)second;
			taken += check(line, 6) == BOTH;
		}
	}
	/* 94 plain characters (space to DEL without " and \), 8 escapes, 1920 of two bytes */
	ck_assert_int_eq(taken, 94 + 2 * (94 * 94 + 8 + 1920));
	for (unsigned first = 0xe0; first < 0x100; first++) {
		for (size_t i = 0; i < sizeof(borders) * sizeof(borders) * sizeof(borders); i++) {
			memcpy(line, "\"wxyz\"", 6);
			line[1] = (char)first;
			line[2] = (char)borders[i % 13];
			line[3] = (char)borders[i / 13 % 13];
			line[4] = (char)borders[i / 169];
			check(line, 6);
			line[4] = '"';
			check(line, 5);
		}
	}
}
END_TEST

START_TEST(what_is_odd_is_left_to_jansson)
{
	static const char *const cases[] = { "1.5", "1e3", "1000000000000000000",
		"-9223372036854775808", "\"\\u00e9\"", "{\"\\u0041\":1}", "-0.0" };
	static const char *const plain[] = { "0", "-0", "999999999999999999", "\"é\"", "\"\\n\"", "{}",
		" [ ] ", "null", "\"\"", "{\"\":{\"\":[]}}" };
	static const char *const wrong_ones[] = { "", " ", "\"", "\"\\", "\"\\\"", "[", "[1", "[1,",
		"[1,]", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{a:1}",
		"{\"a\":1,\"a\":2}", "{\"\":1,\"\":2}", "nul", "-", "00", "1 2", "[1 2]", "[1}", "{1:2}",
		"]", "tru", "{\"\\u0000\":1}", "99999999999999999999", "\xef\xbb\xbf{}" };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_msg(check_text(cases[i]) == SLOW, "%s", cases[i]);
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		ck_assert_msg(check_text(plain[i]) == BOTH, "%s", plain[i]);
	for (size_t i = 0; i < sizeof(wrong_ones) / sizeof(wrong_ones[0]); i++)
		ck_assert_msg(check_text(wrong_ones[i]) == NEITHER, "%s", wrong_ones[i]);
	ck_assert_int_eq(check("[1]\0", 4), NEITHER);
	ck_assert_int_eq(check("[\"\0\"]", 5), NEITHER);
}
END_TEST

static enum taken
check_repeated(const char *head, const char *piece, size_t n, const char *tail)
{
	size_t size = strlen(head) + n * strlen(piece) + strlen(tail);
	char *line = malloc(size + 1), *at = line + sprintf(line, "%s", head);
	enum taken taken;

	while (n-- > 0)
		at += sprintf(at, "%s", piece);
	sprintf(at, "%s", tail);
	taken = check(line, size);
	free(line);
	return taken;
}

START_TEST(the_limits_are_those_of_prescan)
{
	ck_assert_int_eq(check_repeated("[1", ",1", PRESCAN_TOKENS_MAX - 3, "]"), BOTH);
	ck_assert_int_eq(check_repeated("[1", ",1", PRESCAN_TOKENS_MAX - 2, "]"), NEITHER);
	ck_assert_int_eq(check_repeated("[\"\"", ",\"\"", PRESCAN_TOKENS_MAX - 3, "]"), BOTH);
	ck_assert_int_eq(check_repeated("[\"\"", ",\"\"", PRESCAN_TOKENS_MAX - 2, "]"), NEITHER);
	ck_assert_int_eq(check_repeated("[[]", ",[]", PRESCAN_TOKENS_MAX / 2 - 2, "]"), BOTH);
	ck_assert_int_eq(check_repeated("[[]", ",[]", PRESCAN_TOKENS_MAX / 2 - 1, "]"), NEITHER);
	ck_assert_int_eq(check_repeated("[{\"\":null}", ",{\"\":true}", 16382, "]"), BOTH);
	ck_assert_int_eq(check_repeated("[{\"\":null}", ",{\"\":true}", 16383, "]"), NEITHER);
	for (unsigned depth = PRESCAN_DEPTH_MAX; depth <= PRESCAN_DEPTH_MAX + 1; depth++) {
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		ck_assert_int_eq(check(text, 2 * depth), depth <= PRESCAN_DEPTH_MAX ? BOTH : NEITHER);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("wire/jsonr");
	TCase *tc = tcase_create("jsonr");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, generated_documents_mean_the_same);
	tcase_add_test(tc, short_strings_mean_the_same);
	tcase_add_test(tc, what_is_odd_is_left_to_jansson);
	tcase_add_test(tc, the_limits_are_those_of_prescan);
	suite_add_tcase(suite, tc);
	return wire_run(suite);
}
