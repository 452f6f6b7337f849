// # NAME
//
// qmgr - queue manager
//
// # SYNOPSIS
//
//	qmgr [generic daemon options]
//
// # DESCRIPTION
//
// The qmgr daemon takes mail from the incoming and deferred queues, finds out by
// which transport and to which next hop each recipient goes, and has it delivered
// by delivery agents: smtp(8), virtual(8), error(8) and others. It retries what
// could not be delivered, and returns what could not be delivered in time. master(8)
// starts it, exactly once (process limit 1).
//
// Mail to the local double-bounce address is logged and discarded: a notification
// about a notification that cannot be delivered ends here.
//
// # MAIL QUEUES
//
//   - incoming: new mail, from cleanup(8)
//   - active: messages that are being delivered. Only a bounded number enters it,
//     and of the recipients of a large message only a bounded number is in memory.
//   - deferred: mail that could not be delivered for now. The modification time of a
//     file is that of the next attempt.
//   - corrupt: files that are damaged, for inspection
//   - hold: not looked at
//
// Beside them, bounce, defer and trace hold the status of recipients; qmgr asks the
// services of the same name to turn these logs into notifications.
//
// When it starts, qmgr moves everything from the active to the incoming queue. A
// message that a delivery agent still has in its hands from before is left alone
// for a minute at a time. Nothing is kept in memory that is not on disk as well, so
// the process may be killed at any time.
//
// # STRATEGIES
//
//   - leaky bucket: the active queue has at most qmgr_message_active_limit messages.
//     When it is full, new mail goes before deferred mail. Each message that leaves
//     the incoming queue gives a token back to cleanup(8), see in_flow_delay; at
//     start there are default_process_limit of them.
//   - slow start: the number of simultaneous deliveries to a destination begins at
//     initial_destination_concurrency and grows with success.
//   - round robin: the destinations of a message take turns.
//   - destination status: a destination to which connections fail is not tried for
//     minimal_backoff_time, a transport whose agents fail not for
//     transport_retry_time; their mail is deferred by way of the retry service.
//   - preemption: a message to few recipients goes ahead of one to many in a bounded
//     share of deliveries, so one message to one recipient does not wait for one to
//     50,000, and the latter is delayed by a quarter at most.
//   - exponential backoff: the time to the next attempt is the time that the message
//     has been in the queue, between minimal_backoff_time and maximal_backoff_time.
//   - connection cache: delivery requests say when the connection is worth keeping,
//     because more mail for the destination waits or went out just now.
//
// An entry is chosen at the moment when an agent is there to take it: qmgr connects,
// waits for the agent's greeting, and decides then. An agent at its process limit
// does not accept, which so limits the simultaneous deliveries of a transport.
//
// # TRIGGERS
//
// Request codes on the public/qmgr socket, several in one write; those that are not
// known are ignored:
//
//   - W, I: scan the incoming queue
//   - D: scan the deferred queue
//   - A: ignore time stamps in the scans that the same trigger asks for
//   - F: forget that destinations and transports are suspended, and use the
//     transports in defer_transports in these scans
//
// # DIAGNOSTICS
//
// Problems and transactions are logged to postlogd(8) or syslogd(8).
//
//	ID: from=<sender>, size=N, nrcpt=N (queue active)
//	ID: from=<sender>, status=expired, returned to sender
//	ID: skipped, still being delivered
//	ID: removed
//
// "connect to transport private/NAME: reason" means that master.cf(5) has no such
// service or that it does not start. "saving corrupt file" means that a queue file is
// damaged: see the corrupt directory of the queue.
//
// With -v qmgr says what it decided and why.
//
// # SECURITY
//
// The qmgr daemon is not security sensitive. It reads single characters from local
// users who may ask for a queue run, and does not talk to the network. It runs as
// mail_owner, and may run chrooted.
//
// # CONFIGURATION PARAMETERS
//
// Changes of main.cf take effect after "sealpost reload". TRANSPORT stands for the
// first field of a service in master.cf: a parameter "default_x" may be set for one
// transport as "TRANSPORT_x".
//
//   - qmgr_message_active_limit (20000): messages in the active queue
//   - qmgr_message_recipient_limit (20000): recipients in memory
//   - qmgr_message_recipient_minimum (10): recipients of any message in memory
//   - default_recipient_limit (20000): recipients of a message in memory, per transport
//   - default_extra_recipient_limit (1000): recipients beyond the limits, for the message
//     at the head of a transport's list
//   - default_recipient_refill_limit (100): recipients that are read at a time, at least
//   - default_recipient_refill_delay (5s): after which fewer are read too
//   - initial_destination_concurrency (5): parallel deliveries to a destination at first
//   - default_destination_concurrency_limit (20): and at most
//   - default_destination_concurrency_positive_feedback (1): how much a success adds
//   - default_destination_concurrency_negative_feedback (1): how much a failure to
//     connect takes away
//   - default_destination_concurrency_failed_cohort_limit (1): how many rounds of failures
//     suspend a destination; 0 for never
//   - default_destination_recipient_limit (50): recipients per delivery. With 1 each
//     recipient is a destination of its own.
//   - default_destination_rate_delay (0s): pause between deliveries to a destination
//   - default_transport_rate_delay (0s): pause between deliveries by a transport
//   - default_delivery_slot_cost (5): deliveries that earn another message one delivery
//     ahead; 0 turns preemption off
//   - default_delivery_slot_discount (50), default_delivery_slot_loan (3): percentage and
//     number of these that are granted in advance
//   - default_minimum_delivery_slots (3): a message that can earn no more is not preempted
//   - minimal_backoff_time (300s), maximal_backoff_time (4000s): between attempts
//   - queue_run_delay (300s): between scans of the deferred queue
//   - transport_retry_time (60s): between attempts to reach a transport
//   - maximal_queue_lifetime (5d): how long mail is tried; 0 for once
//   - bounce_queue_lifetime (5d): the same for notifications
//   - confirm_delay_cleared (no): tell the sender of late mail when it was delivered
//   - defer_transports (empty): transports that are used only on request (F)
//   - default_filter_nexthop (empty): next hop of a content filter that has none; empty
//     for the domain of the recipient
//   - address_verify_pending_request_limit (1/4 of the active queue): address probes
//   - allow_min_user (no): allow recipients that begin with "-"
//   - double_bounce_sender (double-bounce): see above
//   - recipient_delimiter (empty): extensions do not make another mailbox
//   - bounce_service_name (bounce), defer_service_name (defer), trace_service_name (trace),
//     error_service_name (error): services that qmgr uses
//   - qmgr_clog_warn_time (300s), helpful_warnings (yes): warnings about a destination that
//     fills the active queue
//   - daemon_timeout (18000s): how long one delivery may take
//   - qmgr_daemon_timeout (1000s): how long a step of qmgr itself may take, like reading a
//     message or looking up where it goes. Then it ends itself, for master(8) to start it
//     again; "watchdog timeout" in the log names the step.
//   - default_process_limit (100): most flow control tokens
//   - info_log_address_format (external): addresses in log lines
//   - delay_logging_resolution_limit (2): decimals of delays in log lines
//
// # SEE ALSO
//
// cleanup(8), smtp(8), virtual(8), error(8), bounce(8), master(8), postqueue(1), postconf(5)
package main
