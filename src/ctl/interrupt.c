/* See interrupt.h. */
#include "ctl/interrupt.h"

#include <signal.h>

#include <event2/event.h>

static void
on_event(evutil_socket_t signo, short what, void *arg)
{
	struct ctl_interrupt *in = arg;

	(void)what;
	in->on_signal((int)signo, in->arg);
}

static bool
is_ignored(int signo)
{
	struct sigaction action;

	return sigaction(signo, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

int
ctl_interrupt_init(struct ctl_interrupt *in, struct ctl *ctl,
    void (*on_signal)(int signo, void *arg), void *arg)
{
	static const int signals[CTL_INTERRUPT_SIGNALS] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

	*in = (struct ctl_interrupt){ .on_signal = on_signal, .arg = arg };
	for (size_t i = 0; i < CTL_INTERRUPT_SIGNALS; i++) {
		/* A shell without job control has its background jobs ignore INT; a signal sent
		 * to us on purpose is meant all the same. HUP is what nohup is about. */
		if (signals[i] == SIGHUP && is_ignored(SIGHUP))
			continue;
		in->events[i] = evsignal_new(ctl->base, signals[i], on_event, in);
		if (in->events[i] == NULL || event_add(in->events[i], NULL) != 0) {
			ctl_interrupt_fini(in);
			return ctl_error("out of memory");
		}
	}
	return 0;
}

void
ctl_interrupt_fini(struct ctl_interrupt *in)
{
	for (size_t i = 0; i < CTL_INTERRUPT_SIGNALS; i++) {
		if (in->events[i] != NULL)
			event_free(in->events[i]);
		in->events[i] = NULL;
	}
}
