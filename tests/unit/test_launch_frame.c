/* The frames between engine and launcher: only what is exactly right is read. */
#include "launch/frame.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const char *why;

static int
read_frame(union frame *to, const void *from, size_t len)
{
	/* A copy of exactly this size, so that a sanitizer sees every step beyond. */
	unsigned char *bytes = malloc(len ? len : 1);
	int result;

	memcpy(bytes, from, len);
	result = frame_read(to, bytes, len, &why);
	free(bytes);
	return result;
}

static size_t
run_frame(unsigned char *to, size_t body_len, size_t env_len)
{
	struct frame_run run = {.job = 7, .attempt = 1, .slots = 1};
	size_t len = sizeof(run) + body_len + env_len;

	frame_head_init(&run.head, FRAME_RUN, len);
	run.body_len = (uint32_t)body_len;
	run.env_len = (uint32_t)env_len;
	memset(to, 'x', len);
	memcpy(to, &run, sizeof(run));
	return len;
}

START_TEST(run_reads_back)
{
	unsigned char bytes[256];
	union frame f;
	size_t len = run_frame(bytes, 100, 20);

	ck_assert_int_eq(read_frame(&f, bytes, len), 0);
	ck_assert_uint_eq(f.run.job, 7);
	ck_assert_uint_eq(f.run.body_len, 100);
	ck_assert_uint_eq(f.run.env_len, 20);
	ck_assert_uint_eq(frame_run_fds(&f.run), 0);
	ck_assert(!frame_run_has_memfd(&f.run));
}
END_TEST

START_TEST(lengths_of_a_run_must_add_up)
{
	unsigned char bytes[256];
	struct frame_run *run = (struct frame_run *)bytes;
	union frame f;
	size_t len = run_frame(bytes, 100, 20);

	run->body_len = 101;
	ck_assert_int_eq(read_frame(&f, bytes, len), -1);
	run->body_len = 0xffffffff; /* with env_len wraps to the right sum in 32 bits */
	run->env_len = 121;
	ck_assert_int_eq(read_frame(&f, bytes, len), -1);
	ck_assert_str_eq(why, "body has a wrong length");
}
END_TEST

START_TEST(roles_are_named_once_and_without_holes)
{
	static const uint8_t good[][LAUNCH_FDS_MAX] = {
		{0, 0, 0, 0}, {1, 0, 0, 0}, {3, 2, 1, 0}, {2, 0, 0, 0}, {5, 6, 7, 3, 2, 1}};
	static const uint8_t bad[][LAUNCH_FDS_MAX] = {
		{0, 1, 0, 0}, {1, 1, 0, 0}, {1, 0, 2, 0}, {8, 0, 0, 0}, {255, 0, 0, 0},
		{7, 7, 0, 0}};
	unsigned char bytes[256];
	struct frame_run *run = (struct frame_run *)bytes;
	union frame f;
	size_t len = run_frame(bytes, 10, 0);

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		memcpy(run->roles, good[i], sizeof(good[i]));
		ck_assert_int_eq(read_frame(&f, bytes, len), 0);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(run->roles, bad[i], sizeof(bad[i]));
		ck_assert_int_eq(read_frame(&f, bytes, len), -1);
	}
}
END_TEST

START_TEST(a_memfd_stands_for_the_bytes)
{
	struct frame_run run = {.job = 7, .body_len = 200000, .env_len = 5};
	unsigned char more[sizeof(run) + 1] = {0};
	union frame f;

	run.roles[0] = LAUNCH_FD_BODY;
	frame_head_init(&run.head, FRAME_RUN, sizeof(run));
	ck_assert_int_eq(read_frame(&f, &run, sizeof(run)), 0);
	ck_assert(frame_run_has_memfd(&f.run));
	ck_assert_uint_eq(frame_run_fds(&f.run), 1);
	run.body_len = FRAME_BODY_MAX;
	ck_assert_int_eq(read_frame(&f, &run, sizeof(run)), -1);
	run.body_len = 100;
	frame_head_init(&run.head, FRAME_RUN, sizeof(more));
	memcpy(more, &run, sizeof(run));
	ck_assert_int_eq(read_frame(&f, more, sizeof(more)), -1);
	ck_assert_str_eq(why, "bytes beside a memfd");
}
END_TEST

START_TEST(acks_carry_their_number)
{
	struct frame_ack ack = {.entries = {{.job = 1, .attempt = 2}}};
	union frame f;

	for (unsigned n = 0; n <= FRAME_ACKS_MAX; n++) {
		size_t len = sizeof(ack.head) + n * sizeof(ack.entries[0]);

		frame_head_init(&ack.head, FRAME_ACK, len);
		ck_assert_int_eq(read_frame(&f, &ack, len), n == 0 ? -1 : 0);
		if (n > 0)
			ck_assert_uint_eq(frame_ack_count(&f.ack), n);
	}
	frame_head_init(&ack.head, FRAME_ACK, sizeof(ack.head) + 17);
	ck_assert_int_eq(read_frame(&f, &ack, sizeof(ack.head) + 17), -1);
	ck_assert_str_eq(why, "list has a wrong length");
}
END_TEST

START_TEST(exits_of_each_kind_read_back)
{
	static const struct launch_exit all[] = {
		{.job = 1, .attempt = 2, .how = LAUNCH_EXITED, .exit_code = 200, .user_us = 5,
		 .system_us = 6, .max_rss_kib = 7, .ran_us = 8},
		{.job = 1, .how = LAUNCH_SIGNALED, .cause = LAUNCH_CAUSE_TIMEOUT, .signal = 9},
		{.job = 1, .how = LAUNCH_SPAWN_FAILED, .step = LAUNCH_STEP_EXEC, .error = 2},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		struct frame_exit f;
		union frame back;
		struct launch_exit ex;

		frame_exit_pack(&f, &all[i], FRAME_EXIT_GONE);
		ck_assert_int_eq(read_frame(&back, &f, sizeof(f)), 0);
		ck_assert_uint_eq(back.exit.flags, FRAME_EXIT_GONE);
		frame_exit_unpack(&ex, &back.exit);
		ck_assert_mem_eq(&ex, &all[i], sizeof(ex));
	}
}
END_TEST

START_TEST(values_outside_their_range_are_refused)
{
	struct frame_exit ex = {.how = LAUNCH_SPAWN_FAILED + 1};
	struct frame_signal sig = {.scope = LAUNCH_SCOPE_TREE + 1};
	struct frame_cancel cancel = {.grace_ms = -1};
	union frame f;

	frame_head_init(&ex.head, FRAME_EXIT, sizeof(ex));
	ck_assert_int_eq(read_frame(&f, &ex, sizeof(ex)), -1);
	ex.how = LAUNCH_EXITED;
	ex.step = LAUNCH_STEP_MAX;
	ck_assert_int_eq(read_frame(&f, &ex, sizeof(ex)), -1);
	frame_head_init(&sig.head, FRAME_SIGNAL, sizeof(sig));
	ck_assert_int_eq(read_frame(&f, &sig, sizeof(sig)), -1);
	frame_head_init(&cancel.head, FRAME_CANCEL, sizeof(cancel));
	ck_assert_int_eq(read_frame(&f, &cancel, sizeof(cancel)), -1);
}
END_TEST

START_TEST(heads_that_lie_are_refused)
{
	struct frame_ceiling good = {.slots = 4};
	unsigned char bytes[64] = {0};
	union frame f;

	frame_head_init(&good.head, FRAME_CEILING, sizeof(good));
	ck_assert_int_eq(read_frame(&f, &good, sizeof(good)), 0);
	memcpy(bytes, &good, sizeof(good));
	for (size_t len = 0; len < sizeof(bytes); len++)
		ck_assert_int_eq(read_frame(&f, bytes, len), len == sizeof(good) ? 0 : -1);
	for (size_t bit = 0; bit < sizeof(good.head) * 8; bit++) {
		bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
		/* CEILING with one bit changed is at most a HELLO, of the same length. */
		if (read_frame(&f, bytes, sizeof(good)) == 0)
			ck_assert_uint_eq(f.head.type, FRAME_HELLO);
		bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
}
END_TEST

START_TEST(random_frames_do_no_harm)
{
	unsigned char bytes[600];
	uint64_t x = 88172645463325252u;
	union frame f;

	for (int round = 0; round < 50000; round++) {
		size_t len = (size_t)round % sizeof(bytes);
		struct frame_head head = {.version = FRAME_VERSION, .len = (uint32_t)len};

		for (size_t i = 0; i < len; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			bytes[i] = x & 0x300 ? 0 : (unsigned char)x;
		}
		head.type = (uint16_t)(x % 8 + (x & 64));
		if (len >= sizeof(head))
			memcpy(bytes, &head, sizeof(head));
		if (read_frame(&f, bytes, len) == 0 && f.head.type == FRAME_ACK)
			ck_assert_uint_le(frame_ack_count(&f.ack), FRAME_ACKS_MAX);
	}
}
END_TEST

START_TEST(held_frames_name_what_comes_with_them)
{
	static const uint8_t good[][FRAME_KEPT_MAX] = {{0, 0, 0}, {5, 6, 7}, {6, 0, 0}, {7, 5, 0}};
	static const uint8_t bad[][FRAME_KEPT_MAX] = {{0, 5, 0}, {5, 5, 0}, {1, 0, 0}, {4, 0, 0},
		{8, 0, 0}};
	struct frame_held held = {.job = 7};
	union frame f;

	frame_head_init(&held.head, FRAME_HELD, sizeof(held));
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		memcpy(held.roles, good[i], sizeof(good[i]));
		ck_assert_int_eq(read_frame(&f, &held, sizeof(held)), 0);
	}
	ck_assert_uint_eq(frame_held_fds(&f.held), 2);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(held.roles, bad[i], sizeof(bad[i]));
		ck_assert_int_eq(read_frame(&f, &held, sizeof(held)), -1);
	}
}
END_TEST

START_TEST(a_build_has_an_end)
{
	struct frame_welcome welcome = {.instance = 1};
	union frame f;

	frame_head_init(&welcome.head, FRAME_WELCOME, sizeof(welcome));
	memset(welcome.build, 'x', sizeof(welcome.build) - 1);
	ck_assert_int_eq(read_frame(&f, &welcome, sizeof(welcome)), 0);
	welcome.build[sizeof(welcome.build) - 1] = 'x';
	ck_assert_int_eq(read_frame(&f, &welcome, sizeof(welcome)), -1);
}
END_TEST

START_TEST(three_frames_are_read_in_every_version_and_others_in_ours)
{
	static const enum frame_type all[] = {FRAME_REEXEC, FRAME_SPEAKS, FRAME_RENEWED,
		FRAME_HELLO, FRAME_CEILING};
	struct frame_reexec any = {.reserved = 0};
	union frame f;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		frame_head_init(&any.head, all[i], sizeof(any));
		ck_assert_uint_eq(frame_other_version(&any, sizeof(any)), 0);
		ck_assert_int_eq(read_frame(&f, &any, sizeof(any)), 0);
		any.head.version = 1000;
		ck_assert_uint_eq(frame_other_version(&any, sizeof(any)), 1000);
		ck_assert_uint_eq(frame_other_version(&any, sizeof(any) - 1), 0);
		ck_assert_uint_eq(frame_other_version(&any, 3), 0);
		ck_assert_int_eq(read_frame(&f, &any, sizeof(any)), i < 3 ? 0 : -1);
	}
}
END_TEST

START_TEST(steps_have_the_names_of_the_protocol)
{
	ck_assert_str_eq(launch_step_name(LAUNCH_STEP_EXEC), "exec");
	ck_assert_str_eq(launch_step_name(LAUNCH_STEP_CHDIR), "chdir");
	for (int i = 0; i < LAUNCH_STEP_MAX; i++)
		ck_assert_ptr_nonnull(launch_step_name((enum launch_step)i));
	ck_assert_str_eq(launch_step_name(LAUNCH_STEP_MAX), "unknown");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("launch_frame");
	TCase *tc = tcase_create("frame");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_test(tc, run_reads_back);
	tcase_add_test(tc, lengths_of_a_run_must_add_up);
	tcase_add_test(tc, roles_are_named_once_and_without_holes);
	tcase_add_test(tc, a_memfd_stands_for_the_bytes);
	tcase_add_test(tc, acks_carry_their_number);
	tcase_add_test(tc, exits_of_each_kind_read_back);
	tcase_add_test(tc, values_outside_their_range_are_refused);
	tcase_add_test(tc, heads_that_lie_are_refused);
	tcase_add_test(tc, random_frames_do_no_harm);
	tcase_add_test(tc, held_frames_name_what_comes_with_them);
	tcase_add_test(tc, a_build_has_an_end);
	tcase_add_test(tc, three_frames_are_read_in_every_version_and_others_in_ours);
	tcase_add_test(tc, steps_have_the_names_of_the_protocol);
	suite_add_tcase(suite, tc);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
