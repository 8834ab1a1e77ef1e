/* The launcher's fixed tables: jobs, timers, processes. */
#include "launcher/kin.h"
#include "launcher/table.h"
#include "launcher/timer.h"

#include <check.h>
#include <stdlib.h>
#include <unistd.h>

#define CAPACITY 64

static struct table table;
static struct timers timers;

static void
setup(void)
{
	ck_assert_int_eq(table_init(&table, CAPACITY), 0);
	ck_assert_int_eq(timers_init(&timers, &table), 0);
}

static struct job *
add_running(uint64_t id, pid_t pid)
{
	struct job *job = table_add(&table, id, 1);

	ck_assert_ptr_nonnull(job);
	job->pid = pid;
	job->slots = 2;
	job->pidfd = 100;
	table_set_state(&table, job, JOB_RUNNING);
	return job;
}

START_TEST(a_job_is_found_by_name_and_by_pid_while_it_has_one)
{
	struct job *job = add_running(5, 1000);

	ck_assert_ptr_eq(table_find(&table, 5, 1), job);
	ck_assert_ptr_null(table_find(&table, 5, 2));
	ck_assert_ptr_eq(table_find_leader(&table, 1000), job);
	ck_assert_uint_eq(table.slots, 2);
	table_set_state(&table, job, JOB_EXITED);
	ck_assert_ptr_eq(table_find_leader(&table, 1000), job);
	ck_assert_uint_eq(table.slots, 0);
	ck_assert_uint_eq(table.leaders, 1);
	table_set_state(&table, job, JOB_GONE);
	ck_assert_ptr_null(table_find_leader(&table, 1000));
	ck_assert_ptr_eq(table_find(&table, 5, 1), job);
	ck_assert_uint_eq(table.used, 1);
	table_set_state(&table, job, JOB_FREE);
	ck_assert_ptr_null(table_find(&table, 5, 1));
	ck_assert_uint_eq(table.used + table.active + table.leaders, 0);
}
END_TEST

START_TEST(a_full_table_takes_no_more_until_one_leaves)
{
	struct job *jobs[CAPACITY];

	for (int i = 0; i < CAPACITY; i++)
		jobs[i] = add_running((uint64_t)i * 4096, 1000 + i);
	ck_assert_ptr_null(table_add(&table, 999, 1));
	table_set_state(&table, jobs[7], JOB_EXITED);
	table_set_state(&table, jobs[7], JOB_GONE);
	ck_assert_ptr_null(table_add(&table, 999, 1));
	table_set_state(&table, jobs[7], JOB_FREE);
	ck_assert_ptr_eq(add_running(999, 999), jobs[7]);
	for (int i = 0; i < CAPACITY; i++) {
		if (i != 7)
			ck_assert_ptr_eq(table_find(&table, (uint64_t)i * 4096, 1), jobs[i]);
	}
}
END_TEST

START_TEST(the_list_of_exited_jobs_holds_them_in_any_order_of_leaving)
{
	struct job *a = add_running(1, 11), *b = add_running(2, 12), *c = add_running(3, 13);
	unsigned n = 0;

	table_set_state(&table, a, JOB_EXITED);
	table_set_state(&table, b, JOB_EXITED);
	table_set_state(&table, c, JOB_EXITED);
	table_set_state(&table, b, JOB_GONE);
	for (uint32_t i = table.exited_first; i != JOB_NONE; i = table.jobs[i].next_alike)
		n++;
	ck_assert_uint_eq(n, 2);
	table_set_state(&table, c, JOB_GONE);
	table_set_state(&table, a, JOB_GONE);
	ck_assert_uint_eq(table.exited_first, JOB_NONE);
}
END_TEST

START_TEST(blind_jobs_are_listed_while_they_run)
{
	struct job *jobs[6];
	unsigned n = 0;

	for (int i = 0; i < 6; i++) {
		jobs[i] = table_add(&table, (uint64_t)i + 1, 1);
		jobs[i]->pid = 1000 + i;
		jobs[i]->pidfd = i % 2 ? dup(STDERR_FILENO) : -1;
		table_set_state(&table, jobs[i], JOB_RUNNING);
	}
	ck_assert_uint_eq(table.blind, 3);
	table_set_blind(&table, jobs[1]);
	ck_assert_int_eq(jobs[1]->pidfd, -1);
	table_set_state(&table, jobs[2], JOB_EXITED);
	for (uint32_t i = table.blind_first; i != JOB_NONE; i = table.jobs[i].next_alike) {
		ck_assert_int_eq(table.jobs[i].pidfd, -1);
		ck_assert_int_eq(table.jobs[i].state, JOB_RUNNING);
		n++;
	}
	ck_assert_uint_eq(n, 3);
	ck_assert_uint_eq(table.blind, 3);
	ck_assert_ptr_eq(&table.jobs[table.exited_first], jobs[2]);
	for (int i = 0; i < 6; i++) {
		if (i != 2)
			table_set_state(&table, jobs[i], JOB_EXITED);
		if (jobs[i]->pidfd >= 0)
			close(jobs[i]->pidfd);
		table_set_state(&table, jobs[i], JOB_GONE);
	}
	ck_assert_uint_eq(table.blind_first, JOB_NONE);
	ck_assert_uint_eq(table.exited_first, JOB_NONE);
	ck_assert_uint_eq(table.blind, 0);
}
END_TEST

START_TEST(random_coming_and_going_keeps_the_counts)
{
	uint64_t names[CAPACITY] = {0}, x = 88172645463325252u, next = 1;
	unsigned used = 0;

	for (int round = 0; round < 20000; round++) {
		uint64_t *slot;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		slot = &names[x % CAPACITY];
		if (*slot == 0) {
			*slot = next++;
			add_running(*slot, (pid_t)*slot + 1);
			used++;
		} else {
			struct job *job = table_find(&table, *slot, 1);

			ck_assert_ptr_eq(table_find_leader(&table, (pid_t)*slot + 1), job);
			table_set_state(&table, job, JOB_EXITED);
			table_set_state(&table, job, JOB_GONE);
			table_set_state(&table, job, JOB_FREE);
			*slot = 0;
			used--;
		}
		ck_assert_uint_eq(table.used, used);
		ck_assert_uint_eq(table.leaders, used);
		ck_assert_uint_eq(table.slots, 2 * used);
	}
}
END_TEST

START_TEST(a_table_is_filled_anew_at_the_same_places)
{
	struct table again;
	struct job *job;

	ck_assert_int_eq(table_init(&again, CAPACITY), 0);
	job = table_restore(&again, 3, 30, 1);
	ck_assert_uint_eq(table_index(&again, job), 3);
	job->pid = 333;
	table_set_state(&again, job, JOB_RUNNING);
	ck_assert_ptr_null(table_restore(&again, 3, 31, 1));
	ck_assert_ptr_null(table_restore(&again, 2, 31, 1));
	ck_assert_ptr_null(table_restore(&again, CAPACITY, 31, 1));
	ck_assert_ptr_null(table_restore(&again, 4, 30, 1)); /* the name is taken */
	job = table_restore(&again, CAPACITY - 1, 70, 2);
	table_set_state(&again, job, JOB_GONE);
	ck_assert_ptr_eq(table_find(&again, 70, 2), job);
	ck_assert_uint_eq(table_index(&again, table_find_leader(&again, 333)), 3);
	/* The gaps are free, all of them. */
	for (uint64_t id = 1000; id < 1000 + CAPACITY - 2; id++) {
		job = table_add(&again, id, 1);
		ck_assert_ptr_nonnull(job);
		table_set_state(&again, job, JOB_GONE);
	}
	ck_assert_ptr_null(table_add(&again, 9999, 1));
	ck_assert_uint_eq(again.used, CAPACITY);
}
END_TEST

START_TEST(timers_come_in_order_however_they_are_moved)
{
	struct job *jobs[CAPACITY], *job;
	int64_t last = -1;
	unsigned n = 0;

	ck_assert_int_eq(timers_next_us(&timers), -1);
	for (int i = 0; i < CAPACITY; i++) {
		jobs[i] = add_running((uint64_t)i, i + 1);
		timers_set(&timers, jobs[i], (i * 37) % 64);
	}
	for (int i = 0; i < CAPACITY; i += 3)
		timers_set(&timers, jobs[i], (i * 11) % 200);
	for (int i = 1; i < CAPACITY; i += 3)
		timers_clear(&timers, jobs[i]);
	timers_clear(&timers, jobs[1]);
	ck_assert(!timers_armed(jobs[1]) && timers_armed(jobs[0]));
	ck_assert_ptr_null(timers_take_due(&timers, timers_next_us(&timers) - 1));
	while ((job = timers_take_due(&timers, 1000))) {
		ck_assert_int_ge(job->due_us, last);
		ck_assert(!timers_armed(job));
		last = job->due_us;
		n++;
	}
	ck_assert_uint_eq(n, CAPACITY - CAPACITY / 3);
	ck_assert_int_eq(timers_next_us(&timers), -1);
}
END_TEST

START_TEST(processes_are_found_until_removed)
{
	struct kin kin;

	ck_assert_int_eq(kin_init(&kin), 0);
	for (pid_t pid = 1; pid <= 10000; pid++)
		ck_assert_ptr_nonnull(kin_add(&kin, pid * 4096, 7));
	for (pid_t pid = 1; pid <= 10000; pid += 2)
		kin_remove(&kin, kin_find(&kin, pid * 4096));
	ck_assert_uint_eq(kin.count, 5000);
	for (pid_t pid = 1; pid <= 10000; pid++) {
		struct kin_process *p = kin_find(&kin, pid * 4096);

		ck_assert_int_eq(p != NULL, pid % 2 == 0);
		if (p)
			ck_assert_int_eq(p->pid, pid * 4096);
	}
}
END_TEST

START_TEST(a_full_list_of_processes_says_so)
{
	struct kin kin;

	ck_assert_int_eq(kin_init(&kin), 0);
	for (uint32_t i = 0; i < KIN_MAX; i++)
		ck_assert_ptr_nonnull(kin_add(&kin, (pid_t)i + 1, 0));
	ck_assert(!kin.overflowed);
	ck_assert_ptr_null(kin_add(&kin, KIN_MAX + 1, 0));
	ck_assert(kin.overflowed);
	while (kin.count)
		kin_remove(&kin, &kin.list[kin.count / 2]);
	ck_assert_ptr_null(kin_find(&kin, 1));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("launch_table");
	TCase *tc = tcase_create("table");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, a_job_is_found_by_name_and_by_pid_while_it_has_one);
	tcase_add_test(tc, a_full_table_takes_no_more_until_one_leaves);
	tcase_add_test(tc, the_list_of_exited_jobs_holds_them_in_any_order_of_leaving);
	tcase_add_test(tc, blind_jobs_are_listed_while_they_run);
	tcase_add_test(tc, random_coming_and_going_keeps_the_counts);
	tcase_add_test(tc, a_table_is_filled_anew_at_the_same_places);
	tcase_add_test(tc, timers_come_in_order_however_they_are_moved);
	tcase_add_test(tc, processes_are_found_until_removed);
	tcase_add_test(tc, a_full_list_of_processes_says_so);
	suite_add_tcase(suite, tc);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
