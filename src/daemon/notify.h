#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H
/*
 * Telling whoever started slotd how it stands: the service manager, and the reader of --ready-fd.
 */

/* Is `fd` open? Makes it close-on-exec. Call before anything else opens descriptors. */
int notify_check_fd(int fd);

/* Clients can connect. Writes "READY=1\n" to ready_fd and closes it; -1: there is none. */
void notify_ready(int ready_fd);
void notify_reloading(void);
void notify_stopping(void);
/* How often notify_alive has to be called, in microseconds; 0: nobody wants to hear of it. */
unsigned long long notify_watchdog_us(void);
void notify_alive(void);

#endif
