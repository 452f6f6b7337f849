/*
Command bounce keeps per-recipient delivery status and tells senders about it.

# NAME

bounce, defer, trace - delivery status notification daemon

# SYNOPSIS

	bounce [generic daemon options]

# DESCRIPTION

The daemon maintains per-message log files with the delivery status of recipients
and turns them into delivery status notifications (RFC 3464). It runs under
master(8) under three service names, each with a log directory of that name in
the queue:

  - bounce: recipients that cannot be delivered.
  - defer: recipients that will be tried again, and why.
  - trace: recipients for which the sender asked for a report (NOTIFY=SUCCESS,
    sendmail -v, sendmail -bv).

Delivery agents append records; qmgr(8) asks for a notification when it is done
with a message. A record is on disk before the request is answered.

A notification has the three parts of RFC 3462: a text for a person, a report for
programs, and the message or its headers. The envelope sender is empty, so that
a notification is never answered by another one. What cannot be returned to a
sender goes to 2bounce_notice_recipient when notify_classes has 2bounce or
bounce, and is dropped otherwise, with a line in the log.

A recipient with NOTIFY=NEVER, or whose NOTIFY does not name the event, is left
out (RFC 3461); when none is left no notification is sent.

# REQUIRETLS

A notification about a message that was sent with REQUIRETLS returns the headers
only and does not itself ask for REQUIRETLS when requiretls_redact_dsn is on; this
holds for every kind of notification, postmaster copies and double bounces
included. "TLS-Required: no" of the message is copied into its notifications.

# CONFIGURATION PARAMETERS

  - 2bounce_notice_recipient (postmaster): who gets undeliverable notifications.
  - backwards_bounce_logfile_compatibility (yes): also write "<address>: reason"
    lines to the log files.
  - bounce_notice_recipient (postmaster): who gets copies of bounces.
  - bounce_size_limit (50000): a message above this size in bytes is returned as
    headers only.
  - bounce_template_file (empty): file with other texts, see bounce(5).
  - delay_notice_recipient (postmaster): who gets copies of delay notices.
  - double_bounce_sender (double-bounce): sender of notifications to the postmaster.
  - enable_threaded_bounces (no): refer to the original message's Message-ID.
  - notify_classes (resource, software): which copies the postmaster gets: bounce,
    2bounce, delay.
  - requiretls_redact_dsn (yes), tls_required_enable (yes), requiretls_enable (yes):
    see above.

# DIAGNOSTICS

Each notification is logged with the queue ids of the message and of the
notification. A request that fails is answered so that the caller defers: no
status is lost.

# FILES

	/var/spool/sealpost/bounce, defer, trace

# SEE ALSO

qmgr(8), cleanup(8), master(8), postconf(5)
*/
package main
