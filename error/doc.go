/*
Command error is the delivery agent that delivers nothing.

# NAME

error, retry, discard - delivery agents that bounce, defer or discard all mail

# SYNOPSIS

	error [generic daemon options]

# DESCRIPTION

The daemon receives delivery requests from qmgr(8). What it does with their
recipients depends on the name of its service in master.cf(5):

  - error: all recipients are bounced.
  - retry: all recipients are deferred. qmgr(8) uses it to record why mail for a
    dead destination waits.
  - discard: all recipients are dropped silently; run under the program name
    discard, or as a service of that name.

The next hop of the request is the reason, as in the transport table:

	example.com    error:5.1.2 no such domain here

It may begin with an enhanced status code; without one, error uses 5.0.0,
retry 4.0.0 and discard 2.0.0.

# DIAGNOSTICS

Every recipient is logged with relay=none and status=bounced, deferred or sent.

# CONFIGURATION PARAMETERS

  - bounce_service_name (bounce), defer_service_name (defer),
    trace_service_name (trace): the services that keep recipient status.
  - soft_bounce (no): error defers instead of bouncing.

# SEE ALSO

qmgr(8), bounce(8), master(8), transport(5)
*/
package main
