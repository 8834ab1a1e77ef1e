/* The JSON writer, UTF-8 and base64. */
#include "wire/jsonw.h"
#include "wire/text.h"

#include <check.h>
#include <event2/buffer.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct evbuffer *out;
static struct jsonw w;
static char *text; /* what finish() gave */

static void
setup(void)
{
	out = evbuffer_new();
	jsonw_init(&w, out);
	text = NULL;
}

static void
teardown(void)
{
	free(text);
	evbuffer_free(out);
}

static const char *
finish(void)
{
	size_t len;

	ck_assert_int_eq(jsonw_flush(&w), 0);
	len = evbuffer_get_length(out);
	ck_assert_uint_eq(jsonw_length(&w), len);
	free(text);
	text = malloc(len + 1);
	evbuffer_remove(out, text, len);
	text[len] = '\0';
	jsonw_init(&w, out);
	return text;
}

START_TEST(commas_are_placed_by_the_writer)
{
	jsonw_obj_begin(&w);
	jsonw_kint(&w, "a", 1);
	jsonw_key(&w, "b");
	jsonw_arr_begin(&w);
	jsonw_arr_end(&w);
	jsonw_key(&w, "c");
	jsonw_arr_begin(&w);
	jsonw_bool(&w, true);
	jsonw_obj_begin(&w);
	jsonw_obj_end(&w);
	jsonw_obj_begin(&w);
	jsonw_knull(&w, "x");
	jsonw_kbool(&w, "y", false);
	jsonw_obj_end(&w);
	jsonw_raw(&w, "[1,2]", 5);
	jsonw_arr_end(&w);
	jsonw_kstr(&w, "d", NULL);
	jsonw_obj_end(&w);
	ck_assert_str_eq(finish(), "{\"a\":1,\"b\":[],\"c\":[true,{},{\"x\":null,\"y\":false},[1,2]],"
				   "\"d\":null}");
}
END_TEST

START_TEST(integers_of_every_size)
{
	jsonw_arr_begin(&w);
	jsonw_int(&w, 0);
	jsonw_int(&w, -1);
	jsonw_int(&w, INT64_MAX);
	jsonw_int(&w, INT64_MIN);
	jsonw_arr_end(&w);
	ck_assert_str_eq(finish(), "[0,-1,9223372036854775807,-9223372036854775808]");
}
END_TEST

START_TEST(reals_read_back_the_same)
{
	static const double values[] = { 0.1, 1.0, -2.5, 1e300, 1e-300, 1.0 / 3, 123456789012345.6,
		3e15, 1e22 };

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		json_t *back;

		jsonw_real(&w, values[i]);
		back = json_loads(finish(), JSON_DECODE_ANY, NULL);
		ck_assert(json_is_real(back));
		ck_assert(json_real_value(back) == values[i]);
		json_decref(back);
	}
	jsonw_real(&w, 0.1);
	ck_assert_str_eq(finish(), "0.1");
	jsonw_real(&w, 1);
	ck_assert_str_eq(finish(), "1.0");
	jsonw_real(&w, NAN);
	ck_assert_str_eq(finish(), "null");
}
END_TEST

START_TEST(strings_are_ascii_and_escaped)
{
	jsonw_str(&w, "q\" b\\ s/ \b\f\n\r\t \x01\x1f\x7f");
	ck_assert_str_eq(finish(),
	    "\"q\\\" b\\\\ s/ \\b\\f\\n\\r\\t \\u0001\\u001f\x7f\"");
	jsonw_str(&w, "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
	ck_assert_str_eq(finish(), "\"\\u00e9 \\u20ac \\ud83d\\ude00\"");
	jsonw_strn(&w, "a\0b", 3);
	ck_assert_str_eq(finish(), "\"a\\u0000b\"");
	jsonw_str(&w, "a\xff\xe2\x82z");
	ck_assert_str_eq(finish(), "\"a\\ufffd\\ufffd\\ufffdz\"");
}
END_TEST

/* What jansson makes of bytes that we wrote, as bytes again. */
static size_t
read_back(const char *json, char *bytes)
{
	json_t *value = json_loads(json, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	json_t *b64 = json_object_get(value, "b64");
	size_t len;

	ck_assert_ptr_nonnull(value);
	if (b64 != NULL) {
		len = (size_t)base64_decode(bytes, json_string_value(b64), json_string_length(b64));
	} else {
		len = json_string_length(value);
		memcpy(bytes, json_string_value(value), len);
	}
	json_decref(value);
	return len;
}

START_TEST(bytes_take_the_shorter_form)
{
	jsonw_bytes(&w, "plain", 5);
	ck_assert_str_eq(finish(), "\"plain\"");
	jsonw_bytes(&w, "\xff", 1);
	ck_assert_str_eq(finish(), "{\"b64\":\"/w==\"}");
	jsonw_bytes(&w, "\xc3\xa9", 2);
	ck_assert_str_eq(finish(), "\"\\u00e9\"");
	/* 10 control characters: 62 as a string, 26 as base64 */
	jsonw_bytes(&w, "\1\1\1\1\1\1\1\1\1\1", 10);
	ck_assert_str_eq(finish(), "{\"b64\":\"AQEBAQEBAQEBAQ==\"}");
	jsonw_bytes(&w, "", 0);
	ck_assert_str_eq(finish(), "\"\"");
}
END_TEST

START_TEST(bytes_of_any_sort_and_length_come_back)
{
	static const unsigned char sorts[] = { 'a', '"', 0x01, 0xc3, 0xff };
	static char bytes[6000], back[6000];

	for (size_t s = 0; s < sizeof(sorts); s++) {
		for (size_t len = 0; len < sizeof(bytes); len = len * 2 + 1) {
			memset(bytes, sorts[s], len);
			if (len > 10)
				bytes[len / 2] = 'x';
			jsonw_bytes(&w, bytes, len);
			ck_assert_uint_eq(jsonw_length(&w), jsonw_bytes_size(bytes, len));
			ck_assert_uint_eq(read_back(finish(), back), len);
			ck_assert_int_eq(memcmp(bytes, back, len), 0);
		}
	}
}
END_TEST

START_TEST(long_texts_cross_the_flat_buffer_unharmed)
{
	static char big[5000];

	for (size_t len = 0; len < sizeof(big); len += 61) {
		memset(big, 'a', len);
		big[len] = '\0';
		if (len > 100)
			memcpy(big + 50, "\xe2\x82\xac", 3);
		jsonw_arr_begin(&w);
		for (int i = 0; i < 5; i++) {
			jsonw_str(&w, big);
			jsonw_int(&w, i);
		}
		jsonw_arr_end(&w);

		json_t *back = json_loads(finish(), 0, NULL);

		ck_assert_uint_eq(json_array_size(back), 10);
		for (size_t i = 0; i < 10; i += 2)
			ck_assert_str_eq(json_string_value(json_array_get(back, i)), big);
		json_decref(back);
	}
}
END_TEST

/* Whatever is in the way of them in the flat buffer. */
START_TEST(names_of_any_length_are_written_whole)
{
	static const size_t lengths[] = { 0, 1, 9, 63, 64, 65, 500, 1020, 1024, 1030, 3000 };
	char before[1200], name[3001], *wanted = malloc(5000);

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		for (int fill = 800; fill < 1100; fill++) {
			memset(before, 'x', (size_t)fill);
			before[fill] = '\0';
			memset(name, 'n', lengths[i]);
			name[lengths[i]] = '\0';
			jsonw_obj_begin(&w);
			jsonw_kstr(&w, "f", before);
			jsonw_kint(&w, name, -12345678);
			jsonw_obj_end(&w);
			sprintf(wanted, "{\"f\":\"%s\",\"%s\":-12345678}", before, name);
			ck_assert_str_eq(finish(), wanted);
		}
	}
	free(wanted);
}
END_TEST

START_TEST(json_values_are_written_as_jansson_would)
{
	static const char given[] = "{\"z\":[1,-2,true,false,null,\"\\u00e9\",{}],\"a\\\"b\":"
				    "{\"k\":[]},\"r\":0.1}";
	json_t *value = json_loads(given, 0, NULL);

	jsonw_json(&w, value);
	ck_assert_str_eq(finish(), given);
	json_decref(value);
	jsonw_json(&w, NULL);
	ck_assert_str_eq(finish(), "null");
}
END_TEST

START_TEST(nesting_past_the_limit_fails_without_harm)
{
	for (int i = 0; i < 100; i++)
		jsonw_arr_begin(&w);
	for (int i = 0; i < 200; i++)
		jsonw_arr_end(&w);
	ck_assert_int_ne(jsonw_flush(&w), 0);
}
END_TEST

START_TEST(without_an_evbuffer_the_flat_buffer_is_all)
{
	jsonw_init(&w, NULL);
	jsonw_str(&w, "small");
	ck_assert_int_eq(jsonw_flush(&w), 0);
	ck_assert_uint_eq(w.len, 7);
	ck_assert_int_eq(memcmp(w.flat, "\"small\"", 7), 0);
	for (int i = 0; i < 500; i++)
		jsonw_str(&w, "too much");
	ck_assert_int_ne(jsonw_flush(&w), 0);
	jsonw_init(&w, out);
}
END_TEST

START_TEST(utf8_is_judged_strictly)
{
	ck_assert(utf8_is_valid("", 0));
	ck_assert(utf8_is_valid("plain ascii of some length", 26));
	ck_assert(utf8_is_valid("\xc2\x80\xe0\xa0\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 13));
	ck_assert(!utf8_is_valid("\x80", 1));
	ck_assert(!utf8_is_valid("\xc0\x80", 2));         /* overlong */
	ck_assert(!utf8_is_valid("\xe0\x9f\xbf", 3));
	ck_assert(!utf8_is_valid("\xed\xa0\x80", 3));     /* surrogate */
	ck_assert(!utf8_is_valid("\xf4\x90\x80\x80", 4)); /* above U+10FFFF */
	ck_assert(!utf8_is_valid("\xf5\x80\x80\x80", 4));
	ck_assert(!utf8_is_valid("abcdefgh\xe2\x82", 10)); /* cut */
}
END_TEST

START_TEST(text_is_cut_between_characters)
{
	static const char euros[] = "a\xe2\x82\xac\xe2\x82\xac";

	ck_assert_uint_eq(utf8_cut(euros, 7, 7), 7);
	ck_assert_uint_eq(utf8_cut(euros, 7, 6), 4);
	ck_assert_uint_eq(utf8_cut(euros, 7, 5), 4);
	ck_assert_uint_eq(utf8_cut(euros, 7, 4), 4);
	ck_assert_uint_eq(utf8_cut(euros, 7, 3), 1);
	ck_assert_uint_eq(utf8_cut(euros, 7, 0), 0);
}
END_TEST

START_TEST(base64_of_rfc_4648)
{
	static const char *const pairs[][2] = { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" },
		{ "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" } };
	char buf[16];

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		size_t len = strlen(pairs[i][0]);

		ck_assert_uint_eq(BASE64_SIZE(len), strlen(pairs[i][1]));
		base64_encode(buf, pairs[i][0], len);
		ck_assert_int_eq(memcmp(buf, pairs[i][1], BASE64_SIZE(len)), 0);
		ck_assert_int_eq(base64_decode(buf, pairs[i][1], strlen(pairs[i][1])), (int)len);
		ck_assert_int_eq(memcmp(buf, pairs[i][0], len), 0);
	}
}
END_TEST

START_TEST(base64_that_is_not_canonical_is_refused)
{
	static const char *const bad[] = { "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "=g==", "Z===",
		"====", "Zg==Zg==", "Zm 9", "Zm9-", "Zm\n9", "Zm9v\xff\xff\xff\xff" };
	char buf[32];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(base64_decode(buf, bad[i], strlen(bad[i])) == -1, "%s", bad[i]);
	ck_assert_int_eq(base64_decode(buf, "A\0A=", 4), -1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("wire_text");
	TCase *tc = tcase_create("text");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, commas_are_placed_by_the_writer);
	tcase_add_test(tc, integers_of_every_size);
	tcase_add_test(tc, reals_read_back_the_same);
	tcase_add_test(tc, strings_are_ascii_and_escaped);
	tcase_add_test(tc, bytes_take_the_shorter_form);
	tcase_add_test(tc, bytes_of_any_sort_and_length_come_back);
	tcase_add_test(tc, long_texts_cross_the_flat_buffer_unharmed);
	tcase_add_test(tc, names_of_any_length_are_written_whole);
	tcase_add_test(tc, json_values_are_written_as_jansson_would);
	tcase_add_test(tc, nesting_past_the_limit_fails_without_harm);
	tcase_add_test(tc, without_an_evbuffer_the_flat_buffer_is_all);
	tcase_add_test(tc, utf8_is_judged_strictly);
	tcase_add_test(tc, text_is_cut_between_characters);
	tcase_add_test(tc, base64_of_rfc_4648);
	tcase_add_test(tc, base64_that_is_not_canonical_is_refused);
	suite_add_tcase(suite, tc);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
