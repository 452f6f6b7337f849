/*
Command smtp is the SMTP and LMTP client. Run under the name lmtp it speaks LMTP
and reads the parameters lmtp_...

# NAME

smtp, lmtp - SMTP and LMTP client

# SYNOPSIS

	smtp [generic daemon options] [flags=DORX]
	lmtp [generic daemon options] [flags=DORX]

# DESCRIPTION

The client delivers mail to other systems. It runs under master(8) and receives
delivery requests from qmgr(8): a queue file, a sender, recipients and the next
hop, which is a domain or a host. It looks up the hosts of the next hop, tries
them in order, and records what became of each recipient with bounce(8),
defer(8) and trace(8).

The mail exchangers of a domain are tried by preference, those of equal preference
in random order. A host that cannot be reached, does not answer in time, or
refuses with a code 4xx is followed by the next one; a refusal with 5xx of the
message or a recipient is final. When no host is left, the last reason decides:
the mail is deferred, or returned.

A message for several recipients is offered once to each host. Recipients that
one host refuses for a time are offered to the next, the others are done.

One process serves all deliveries of its service, each in its own thread of
control; one that hangs holds up nobody else.

# SMTP DESTINATION SYNTAX

A next hop is one or more destinations, separated by comma or white space, which
are tried in order:

	domain, domain:port
	    The mail exchangers of the domain; without MX records, the host of
	    this name.
	[host], [host]:port
	    The addresses of the host.
	[address], [address]:port
	    The address. An IPv6 address is written [ipv6:address].

# LMTP DESTINATION SYNTAX

	unix:path
	    A socket in the file system, relative to the queue directory.
	inet:host, inet:host:port, inet:[address], inet:[address]:port
	    A host or an address. "inet:" may be left out. There is no MX lookup.

# CONNECTION REUSE

After a delivery a connection is kept for up to smtp_connection_cache_time_limit
when qmgr asks for it, because more mail is waiting for the destination, or when
the destination is one of smtp_connection_cache_destinations. The next message
for the same destination, or for another one with the same server, goes over it.
What the server announced stays with the connection. A connection that turns out
to be dead before the server has said anything about a message is replaced by a
new one; that is not a failed delivery. At most 100 connections idle for one
destination or server, and 1000 in all.

# WHERE A MESSAGE CAME FROM

With smtp_send_xforward_command = yes a server that announces XFORWARD, a content
filter, is told before each MAIL FROM where the message came from: name, address and
port of the client, the protocol, what it said in HELO, the queue id here, and whether
the message is LOCAL or REMOTE. Only what the server takes and what is known is sent;
so the filter, or the mail system behind it, logs the client of the first system. It
is what smtpd(8) got: from the client itself, or by XFORWARD. A server that refuses
XFORWARD is a warning, and gets the message all the same.

# TRANSPORT SECURITY

How much TLS is needed is decided anew for each host, by smtp_tls_policy_maps for
the destination, else by smtp_tls_security_level:

	none         TLS is not used.
	may          TLS where it is offered, with any certificate; else in the clear.
	encrypt      TLS, with any certificate.
	fingerprint  A certificate or public key with a known fingerprint.
	verify       A trusted certificate with the name of the host.
	secure       A trusted certificate with the name of the destination.
	dane         TLSA records where DNSSEC has them, else may (RFC 7672).
	dane-only    TLSA records.

After the handshake EHLO is said again; what the server said before it does not
count. At level may a message whose handshake fails, or whose connection is lost
inside TLS before the server can have it, is tried again later; one that is older
than minimal_backoff_time is sent in the clear at once instead. At all other levels
the message waits: mail that must not go in the clear does not. "TLS-Required: no"
in a message means level may for it and no table.

A TLS connection is used for more than one message with smtp_tls_connection_reuse,
or connection_reuse in a policy table, when the policy of the next message is the
same and what the connection showed satisfies it.

A delivery line says tls=LEVEL: "may:none" went in the clear, "!verify" was not
used because the server does not satisfy the level, "verify?" did not come so far.

When the sender asked for REQUIRETLS (RFC 8689), smtp_requiretls_policy says for
each destination how far that is enforced. At level enforce, the default, a host gets
the message only over TLS with a certificate that matches an authentic name, and
only when it announces REQUIRETLS inside TLS; else the next host is tried, and at
last the message returns. What became of the request is the second part of tls=:
"requiretls", or "!requiretls:" with the reason: nocertmatch, nosecuremx (the MX
lookup could be forged), nostarttls, noencryption, none (not announced).

The guide tls.md, in /usr/share/doc/sealpost, goes through this step by step. TLS versions and ciphers are those of Go; "sealpost
check" names the settings that it cannot follow.

# MESSAGE CONTENT

Lines end in CR LF on the wire, and a "." at the beginning of a line is doubled.
A CR or LF inside a line is sent as a blank, so that no server takes it for the
end of a line. Lines longer than smtp_line_length_limit are broken by CR LF and a
blank. A message with 8-bit parts is converted to quoted-printable for a server
without 8BITMIME. smtp_header_checks and their like may change or leave out headers
and lines, as header_checks(5) says, with the actions IGNORE, INFO, PREPEND, REPLACE,
STRIP and WARN; any other is a warning and changes nothing. A message whose queue file cannot be read to its end is never
finished: the connection is closed instead.

# COMMAND ATTRIBUTE SYNTAX

The argument flags= in master.cf takes letters:

	D   Prepend a Delivered-To: header with the recipient.
	O   Prepend an X-Original-To: header with the recipient as it was given.
	R   Prepend a Return-Path: header with the sender.
	X   The delivery is final: notices of success say "delivered", not "relayed".

D and O name one recipient: set transport_destination_recipient_limit to 1.

# DIAGNOSTICS

Each recipient's outcome is one line with status=sent, deferred or bounced. A host
that cannot be reached, and a refusal after which another host is tried, are
logged with their reason. With -v the client logs which hosts it found, which
connection it used, and why.

A server that sends what is not a reply, replies of more than 64 KB or 1000 lines, or
an answer before it has the whole message, is treated as a protocol error: the
mail is deferred with 4.5.0 and the connection is closed.

# SECURITY

The client talks to servers that it does not know. It runs as mail_owner, may run
in a chroot, reads its configuration, host table and resolver settings before it
drops privileges, and needs write access to queue files only. Control characters in
replies are replaced by "?" before they reach a log or a notice; an address with
control characters is refused before it becomes part of a command.

# CONFIGURATION PARAMETERS

Each parameter smtp_NAME has a counterpart lmtp_NAME unless said otherwise. Changes
take effect after "sealpost reload".

Finding hosts:

  - dns_servers (empty): name servers to ask instead of those of resolv.conf.
  - dns_servers_authentic (no): believe DNSSEC results of dns_servers.
  - disable_dns_lookups (no): no MX lookups, hosts by the system's table first.
  - smtp_dns_support_level (empty): disabled, enabled or dnssec; empty means that
    disable_dns_lookups decides.
  - smtp_host_lookup (dns): where addresses of hosts come from: dns, native.
  - ignore_mx_lookup_error (no): treat a failed MX lookup as "no MX records".
  - smtp_defer_if_no_mx_address_found (no): defer and do not return mail when no
    mail exchanger has an address.
  - inet_protocols (all): address families to use.
  - smtp_address_preference (any): address family to try first.
  - smtp_balance_inet_protocols (yes): leave room for both families under
    smtp_mx_address_limit.
  - smtp_randomize_addresses (yes): random order of hosts of equal preference.
  - smtp_mx_address_limit (5): addresses to try, 0 for all.
  - smtp_mx_session_limit (2): sessions per delivery that get past EHLO, 0 for no limit.
  - smtp_fallback_relay (empty): destinations to try after all others failed.
  - soft_bounce (no): what would be returned goes on to the next host, and waits
    after the last one.
  - smtp_tcp_port (smtp), lmtp_tcp_port (24): port when the next hop names none.
  - smtp_bind_address, smtp_bind_address6 (empty): local addresses to connect from.
  - inet_interfaces (all), proxy_interfaces (empty): addresses of this system, for
    the detection of loops on port 25.
  - best_mx_transport (empty): where to send mail for a domain that has this
    system as its best mail exchanger, instead of returning it.

The conversation:

  - smtp_helo_name, lmtp_lhlo_name ($myhostname): name to say in EHLO or LHLO.
  - smtp_always_send_ehlo (yes), smtp_never_send_ehlo (no): SMTP only.
  - smtp_discard_ehlo_keywords, lmtp_discard_lhlo_keywords (empty): extensions to
    pass over. smtp_discard_ehlo_keyword_address_maps,
    lmtp_discard_lhlo_keyword_address_maps (empty): other lists, by address of the
    server. While a table fails its servers get no mail: what it hides might be STARTTLS.
  - smtp_skip_5xx_greeting (yes): try another host after a greeting of 5xx.
  - smtp_skip_quit_response (yes; lmtp: no): do not wait for the reply to QUIT.
  - smtp_send_xforward_command (no): say where a message came from, see above.
  - smtp_line_length_limit (998): longest line to send, 0 for no limit.
  - smtp_quote_rfc821_envelope (yes): quote local parts where RFC 5321 wants it.
  - smtp_generic_maps (empty): replacements of sender and recipient addresses.
  - smtp_header_checks, smtp_mime_header_checks, smtp_nested_header_checks,
    smtp_body_checks (empty): tables for headers, headers about MIME, headers of
    attached messages, and all other lines. body_checks_size_limit (51200),
    header_size_limit (102400), mime_boundary_length_limit (2048) and
    mime_nesting_limit (100) hold here too.
  - disable_mime_output_conversion (no): send 8-bit text to every server.
  - smtp_address_verify_target (rcpt): stage at which an address probe ends.
  - smtp_delivery_status_filter ($default_delivery_status_filter): tables that change
    status code and text of an outcome.
  - lmtp_assume_final (no): LMTP servers without DSN deliver finally.

Time limits:

  - smtp_connect_timeout (30s; lmtp: 0s), smtp_helo_timeout (300s),
    smtp_starttls_timeout (300s, for the command and for the handshake),
    smtp_xforward_timeout (300s), smtp_mail_timeout (300s), smtp_rcpt_timeout (300s),
    smtp_data_init_timeout (120s), smtp_data_xfer_timeout (180s), smtp_data_done_timeout (600s),
    smtp_rset_timeout (20s), smtp_quit_timeout (300s): for each read or write at
    this stage. A whole reply may take twice as long.
  - smtp_per_request_deadline (no): the limits are for a whole command and reply.
  - smtp_min_data_rate (500): bytes per second of content that earn more time
    under smtp_per_request_deadline.

Transport security:

  - smtp_tls_security_level (may; lmtp: empty), smtp_tls_policy_maps (empty): see above.
  - smtp_tls_wrappermode (no): TLS from the first byte; wants level encrypt or more.
  - smtp_tls_CAfile, smtp_tls_CApath (empty), tls_append_default_CA (no): whom to trust.
  - smtp_tls_chain_files, smtp_tls_cert_file, smtp_tls_key_file, smtp_tls_eccert_file,
    smtp_tls_eckey_file (empty): certificates of the client.
  - smtp_tls_verify_cert_match (hostname), smtp_tls_secure_cert_match (nexthop,
    dot-nexthop; lmtp: nexthop): names to match.
  - smtp_tls_fingerprint_cert_match (empty), smtp_tls_fingerprint_digest (sha256).
  - smtp_tls_servername (empty): name to send in the handshake (SNI).
  - smtp_tls_protocols, smtp_tls_mandatory_protocols (>=TLSv1), smtp_tls_ciphers,
    smtp_tls_mandatory_ciphers (medium), smtp_tls_exclude_ciphers,
    smtp_tls_mandatory_exclude_ciphers (empty).
  - smtp_tls_dane_insecure_mx_policy (dane; SMTP and LMTP), tls_dane_digests, dnssec_probe.
  - smtp_tls_connection_reuse (no), smtp_tls_session_cache_database (empty).
  - smtp_tls_block_early_mail_reply (no): give up a server that answers too early.
  - requiretls_enable (yes), smtp_requiretls_policy (opportunistic for $mydomain,
    localhost and addresses, else enforce; lmtp: opportunistic): see above.
  - tls_required_enable (yes): honour "TLS-Required: no".
  - smtp_tls_loglevel (0), smtp_log_tls_feature_status (yes),
    smtp_tls_note_starttls_offer (no): what to log.

Connection reuse:

  - smtp_connection_cache_on_demand (yes): follow the queue manager's demand.
  - smtp_connection_cache_destinations (empty): destinations with reuse always on.
  - smtp_connection_cache_time_limit (2s), connection_cache_ttl_limit (2s): how
    long a connection may idle.
  - smtp_connection_reuse_time_limit (300s): how long a connection is used again
    after it was made.
  - smtp_connection_reuse_count_limit (0): how often, 0 for no limit.

# STANDARDS

RFC 5321 (SMTP), RFC 2033 (LMTP), RFC 2920 (PIPELINING), RFC 1870 (SIZE), RFC 6152
(8BITMIME), RFC 3207 (STARTTLS), RFC 7672 (DANE), RFC 8689 (REQUIRETLS), RFC 3461 (DSN), RFC 3463 and RFC 2034 (enhanced status codes), RFC 6531
and RFC 6533 (SMTPUTF8), RFC 7505 (null MX).

# SEE ALSO

qmgr(8), bounce(8), master(8), smtpd(8), postconf(5), transport(5), generic(5)
*/
package main
