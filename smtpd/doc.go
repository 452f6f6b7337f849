// # NAME
//
// smtpd - Sealpost SMTP server
//
// # SYNOPSIS
//
//	smtpd [generic daemon options]
//	sendmail -bs
//
// # DESCRIPTION
//
// The SMTP server accepts connections from the network, and messages over them,
// and hands each message to cleanup(8), which puts it into the incoming queue. It
// believes nothing that a client says: what it takes on is decided by access
// restrictions, and every limit below holds from the first byte.
//
// One process serves all sessions of a service, each in a goroutine of its own.
// A session that waits for its client holds no buffers. The number of sessions
// at a time is the process limit of master.cf; a worker that reaches it uses the
// stress-dependent settings for a while.
//
// A message is answered with 250 only after cleanup said that it is safely in
// the queue. The connection to cleanup is made with the first valid recipient;
// from then on log lines have the queue id.
//
// # COMMANDS
//
// HELO, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, BDAT, RSET, NOOP, VRFY, ETRN, HELP,
// QUIT, XCLIENT and XFORWARD. EHLO announces PIPELINING, SIZE, VRFY, ETRN, STARTTLS,
// AUTH, XCLIENT, XFORWARD, ENHANCEDSTATUSCODES, 8BITMIME, DSN, SMTPUTF8, CHUNKING and
// REQUIRETLS, in this order, without those of smtpd_discard_ehlo_keywords. STARTTLS is
// announced in the clear, where there is a certificate; REQUIRETLS under TLS; XCLIENT
// and XFORWARD to clients that may use them. ETRN is answered by flush(8); where that
// service is absent the reply is 458.
//
// # TRANSPORT LAYER SECURITY
//
// With smtpd_tls_security_level = may clients can say STARTTLS; with encrypt they
// must, before MAIL; in wrapper mode TLS comes before the greeting. After STARTTLS
// everything is forgotten that was said before, and what a client sent in the
// clear behind the command is discarded and logged.
//
// A certificate file that cannot be used is a warning at start: STARTTLS is then
// not announced, and at level encrypt no mail is taken. When a certificate file is
// replaced, the worker makes room for a successor that reads the new one; sessions
// that have a transaction end it, and a handshake that is under way is finished.
//
// Sessions are resumed by tickets only. Each service has keys of its own, which
// change every hour and are good for one more; master(8) holds what they are made
// from in memory, so that they outlive a reload, and nothing of it is on disk.
//
// What the parameters ask for and the TLS library cannot do is said by "sealpost
// check": gaps in a range of protocols, ciphers and curves that do not exist here,
// exclusion of the ciphers of TLSv1.3, log levels above 2, raw public keys. The
// log has no digest of signatures, and their algorithm only with TLSv1.3.
//
// # POLICY SERVICES
//
// A policy server is asked in lines name=value, and answers with "action=" and what a
// value of an access table may be. It is told the command, the client, the server's
// address, sender and recipient, their number, the queue id, the size, the user of AUTH,
// the client's certificate, the cipher, and whether the sender asked for REQUIRETLS
// (requiretls=yes or no, the last attribute, which Postfix has not). instance is the same
// in all requests about one message. Grey lists and SPF checkers for Postfix work as
// they are.
//
// Settings of one service stand in braces after its endpoint:
// check_policy_service { unix:private/spf, timeout=10s, { default_action = DUNNO } }.
// A server that does not answer in time, twice, has failed: the log names it, and
// the default action is taken.
//
// # FILTER BEFORE THE QUEUE
//
// With smtpd_proxy_filter a message does not go to cleanup(8) but to a content filter that
// speaks SMTP, while the client waits. The filter gives what it takes to another smtpd of
// this system, without this parameter. docs/proxyfilter.md is a guide.
//
// The filter is connected to at the first valid recipient. It gets EHLO, XFORWARD if it
// announces that, MAIL FROM and RCPT TO as the client sent them, DATA and the message;
// nothing is pipelined. Its refusals of these, and its reply to the end of the message, are
// passed to the client; 421 ends both sessions. Where the connection fails, or the filter
// refuses it, EHLO or XFORWARD, or does not answer within smtpd_proxy_timeout, the client
// is told 451 4.3.0 Error: queue file write error, and the log has the reason. A message
// without its end is never given one. The outcome is a line proxy-accept or proxy-reject;
// there is no queue id.
//
// With smtpd_proxy_options = speed_adjust the filter is connected to after the whole
// message came, which is kept in a nameless file in the queue directory until then. The
// filter can then not refuse single recipients.
//
// The word REQUIRETLS is not passed on. With requiretls_esmtp_header the header
// "Require-TLS-ESMTP: yes" takes its place, at the end of the message header, unless the
// message has it; without, the log has a warning that the request is lost. Actions of
// access tables on messages, but for PREPEND, are not available.
//
// # CLIENTS THAT SPEAK FOR OTHERS
//
// A client in smtpd_authorized_xclient_hosts can take another one's place with XCLIENT:
// a proxy that accepts connections for this server, or somebody who tests restrictions
// (swaks --xclient). The attributes are NAME, REVERSE_NAME, ADDR, PORT, HELO, PROTO,
// LOGIN, DESTADDR and DESTPORT. The session begins anew with the greeting, and from then
// on restrictions, policy servers, the log and the headers know the new client only;
// whether it may use XCLIENT again depends on the new address. TLS stays as it is:
// nothing that is said with XCLIENT makes a connection in the clear count as protected,
// and REQUIRETLS is taken under TLS of this connection alone. STARTTLS forgets LOGIN and
// HELO, and keeps the address: the trusted client's own rights do not come back.
//
// A client in smtpd_authorized_xforward_hosts, a content filter that gives mail back, can
// say with XFORWARD where its next message came from: NAME, ADDR, PORT, HELO, PROTO,
// IDENT (the queue id there) and SOURCE (LOCAL or REMOTE). That is logged, as
// orig_queue_id= and orig_client= at the end of the client= line, and goes with the
// message to the programs after this one; only SOURCE changes anything, the completion
// of headers (local_header_rewrite_clients). It is forgotten at the end of the message, at
// RSET, EHLO and STARTTLS.
//
// Values are in xtext; [UNAVAILABLE] says that something is not known, for names
// [TEMPUNAVAIL] that it is not known now. A command with an attribute that makes no sense
// changes nothing. Connections of clients that may use XCLIENT are not limited in number.
//
// # AUTHENTICATION
//
// With smtpd_sasl_auth_enable = yes clients can say AUTH (RFC 4954). Who they are is
// decided by Dovecot's authentication service at smtpd_sasl_path; smtpd_sasl_type
// must be dovecot. EHLO announces the mechanisms that the service has, that
// smtpd_sasl_mechanism_filter leaves, and that are good enough for this connection:
// smtpd_sasl_security_options in the clear, smtpd_sasl_tls_security_options under
// TLS. With smtpd_tls_auth_only = yes there is no AUTH in the clear.
//
// AUTH by itself permits nothing: permit_sasl_authenticated does. The user's name is
// in the log, in the queue file, and with smtpd_sasl_authenticated_header in the
// message. While the service cannot be reached AUTH is not announced, who tries it is
// told to come again (454), and other mail goes on. Passwords are never logged, not
// with -v either. STARTTLS makes the session forget who the client was.
//
// # ACCESS RESTRICTIONS
//
// Each stage of a session has a list of restrictions, evaluated from left to
// right until one permits (on to the next list) or refuses (the reply). With
// smtpd_delay_reject the lists of client, HELO and sender are evaluated with
// each recipient, so that the log shows all of them. Then come the relay and the
// recipient restrictions, then reject_unlisted_recipient where
// smtpd_reject_unlisted_recipient says so. Mail to "postmaster" without a domain
// is always taken. A name that is not a restriction is warned about at start, and
// where it is met the reply is 451 4.3.5.
//
// The server does not start when neither smtpd_relay_restrictions nor
// smtpd_recipient_restrictions keeps strangers from relaying.
//
//   - permit, reject, defer: decide at once.
//   - defer_if_permit, defer_if_reject: defer, in case the request would be
//     permitted or refused by what follows.
//   - warn_if_reject: log what the next restriction refuses, as reject_warning,
//     and go on.
//   - permit_mynetworks, permit_inet_interfaces: permit clients in mynetworks, and
//     this host.
//   - permit_auth_destination, reject_unauth_destination,
//     defer_unauth_destination: permit mail for domains of this host and for
//     relay_domains; refuse or defer all other mail.
//   - reject_unlisted_recipient, reject_unlisted_sender: refuse addresses in
//     domains of this host that no table knows.
//   - reject_non_fqdn_sender, reject_non_fqdn_recipient,
//     reject_non_fqdn_helo_hostname: refuse names that are not complete.
//   - reject_unknown_sender_domain, reject_unknown_recipient_domain,
//     reject_unknown_helo_hostname: refuse domains without MX and address records,
//     and those that say that they take no mail. A name server that fails defers.
//   - reject_invalid_helo_hostname: refuse what is not a name.
//   - reject_unknown_client_hostname, reject_unknown_reverse_client_hostname:
//     refuse clients without a verified name, or without any.
//   - reject_multi_recipient_bounce: refuse a bounce to several recipients.
//   - reject_unauth_pipelining, reject_plaintext_session: refuse clients that do
//     not wait for replies where they must, and sessions in the clear.
//   - permit_tls_clientcerts, permit_tls_all_clientcerts: permit clients whose
//     certificate, or public key, has its fingerprint in relay_clientcerts; clients
//     with any certificate of a CA in smtpd_tls_CAfile or smtpd_tls_CApath.
//   - check_client_access, check_reverse_client_hostname_access, check_helo_access,
//     check_sender_access, check_recipient_access, check_etrn_access,
//     check_ccert_access, each with TYPE:TABLE after it: what an access table says
//     (ACCESS TABLES).
//   - check_policy_service, with inet:host:port or unix:path after it: what a policy server
//     says (POLICY SERVICES).
//   - permit_sasl_authenticated: permit clients that said AUTH. check_sasl_access,
//     with TYPE:TABLE after it: an access table about the user's name.
//   - reject_sender_login_mismatch: refuse a sender that smtpd_sender_login_maps
//     gives to others than this user, from a client without AUTH too, and of a user
//     any sender that the maps do not give to it. reject_known_sender_login_mismatch:
//     only senders that the maps have. reject_authenticated_sender_login_mismatch and
//     reject_unauthenticated_sender_login_mismatch: only clients with, only clients
//     without AUTH. Without smtpd_sasl_auth_enable they make no decision.
//   - names in smtpd_restriction_classes: the list that the parameter of that
//     name has.
//
// # ACCESS TABLES
//
// The first of these keys that a table has counts. A domain is looked up with the
// domains above it (with a dot before them when parent_domain_matches_subdomains
// lacks smtpd_access_maps); tables of patterns see only the whole key.
//
//   - client: verified name and the domains above it, address, and what is left
//     when it is cut from the end at each dot or colon.
//   - HELO, reverse name, ETRN: the name and the domains above it.
//   - sender, recipient: user+ext@domain, user@domain, the domain and those above
//     it, user+ext@, user@; for the null sender smtpd_null_access_lookup_key.
//   - certificate: the fingerprint of the client's certificate, then that of its
//     public key (smtpd_tls_fingerprint_digest).
//   - user of AUTH: the name as the service gave it, and nothing else.
//
// The value says what to do:
//
//   - OK, RELAY, or a number: permit. DUNNO: no decision, and no further key.
//   - REJECT, DEFER, 4NN or 5NN, each with an enhanced status code and a text if
//     wanted: refuse (access_map_reject_code, access_map_defer_code).
//   - DEFER_IF_PERMIT, DEFER_IF_REJECT: as the restrictions of that name.
//   - HANGUP: end the connection.
//   - INFO, WARN with a text: log it and go on.
//   - HOLD, DISCARD, FILTER transport:destination, REDIRECT address, BCC address,
//     PREPEND header: what becomes of the message, if it is accepted. They need a
//     message: with smtpd_delay_reject = no they do nothing before MAIL FROM.
//   - names of restrictions and of restriction classes: evaluate them.
//
// A table that fails refuses with 451 4.3.0.
//
// # CONFIGURATION PARAMETERS
//
//   - smtpd_client_restrictions, smtpd_helo_restrictions,
//     smtpd_sender_restrictions, smtpd_recipient_restrictions,
//     smtpd_data_restrictions, smtpd_end_of_data_restrictions,
//     smtpd_etrn_restrictions (empty): restrictions of each stage.
//   - smtpd_relay_restrictions (permit_mynetworks, permit_sasl_authenticated,
//     defer_unauth_destination): who may relay.
//   - smtpd_delay_reject (yes): wait for RCPT TO before a client is refused.
//   - smtpd_restriction_classes (empty): names of further lists.
//   - smtpd_reject_unlisted_recipient (yes), smtpd_reject_unlisted_sender (no):
//     refuse addresses that do not exist.
//   - local_recipient_maps, relay_recipient_maps, virtual_alias_maps,
//     virtual_mailbox_maps: the tables that know addresses.
//   - smtpd_banner ($myhostname ESMTP $mail_name): text of the greeting.
//   - smtpd_helo_required (no), disable_vrfy_command (no),
//     smtpd_discard_ehlo_keywords (empty),
//     smtpd_discard_ehlo_keyword_address_maps (empty): the protocol's form.
//   - smtpd_noop_commands (empty), smtpd_forbidden_commands (CONNECT GET POST and
//     what does not begin with a letter): commands that do nothing, and commands
//     of other protocols, which end the session.
//   - smtpd_forbid_bare_newline (normalize): what a bare LF means. normalize, yes:
//     it ends a line, but only CR LF "." CR LF ends a message. note: the same, and
//     the disconnect line says notes=bare_lf. reject: the message or the command is
//     refused with smtpd_forbid_bare_newline_reject_code (550). no: whatever looks
//     like an end of message is one; this lets messages be smuggled in.
//     Clients in smtpd_forbid_bare_newline_exclusions ($mynetworks) are exempt.
//   - smtpd_forbid_unauth_pipelining (yes): end sessions of clients that send
//     commands before they may.
//   - message_size_limit (10240000), line_length_limit (2048),
//     smtpd_recipient_limit (1000), smtpd_recipient_overshoot_limit (1000): limits
//     on a message.
//   - queue_minfree (0): bytes that must be free in the queue's file system; at
//     least 1.5 times message_size_limit. Looked at once a second.
//   - smtpd_soft_error_limit (10), smtpd_error_sleep_time (1s),
//     smtpd_hard_error_limit (20, under stress 1), smtpd_junk_command_limit (100,
//     under stress 1): what happens to clients that make errors.
//   - smtpd_client_connection_count_limit (50),
//     smtpd_client_event_limit_exceptions ($mynetworks),
//     smtpd_client_ipv4_prefix_length (32), smtpd_client_ipv6_prefix_length (84):
//     connections of one client, or one network, at a time.
//   - smtpd_proxy_filter (empty), smtpd_proxy_timeout (100s), smtpd_proxy_ehlo
//     ($myhostname), smtpd_proxy_options (empty; speed_adjust), requiretls_esmtp_header
//     (yes): the filter before the queue.
//   - smtpd_authorized_xclient_hosts (empty), smtpd_authorized_xforward_hosts (empty):
//     clients that speak for others.
//   - smtpd_timeout (300s, under stress 10s), smtpd_per_request_deadline (no,
//     under stress yes), smtpd_min_data_rate (500): time limits.
//   - smtpd_peername_lookup (yes), smtpd_client_port_logging (no),
//     smtpd_hide_client_session (no): names of clients and where they are shown.
//   - smtpd_tls_security_level (empty): none, may or encrypt; smtpd_use_tls (no)
//     and smtpd_enforce_tls (no) are older forms. smtpd_tls_wrappermode (no).
//   - smtpd_tls_chain_files (empty), or smtpd_tls_cert_file with
//     smtpd_tls_key_file, and the same with eccert, eckey, dcert and dkey: key and
//     certificate. tls_server_sni_maps (empty): others, by the name asked for.
//   - smtpd_tls_protocols, smtpd_tls_ciphers, smtpd_tls_exclude_ciphers; at level
//     encrypt smtpd_tls_mandatory_protocols, smtpd_tls_mandatory_ciphers, and
//     smtpd_tls_mandatory_exclude_ciphers too; tls_eecdh_auto_curves: what is
//     negotiated.
//   - smtpd_tls_ask_ccert (no), smtpd_tls_req_ccert (no): ask clients for a
//     certificate; at level encrypt, end the session of one without a trusted certificate.
//     smtpd_tls_CAfile, smtpd_tls_CApath (empty), tls_append_default_CA (no): who
//     is trusted. relay_clientcerts (empty), smtpd_tls_fingerprint_digest (sha256).
//   - smtpd_starttls_timeout (300s, under stress 10s): time for a handshake.
//   - smtpd_tls_loglevel (0), smtpd_tls_received_header (no): what is said about it.
//   - requiretls_enable (yes): announce and take REQUIRETLS.
//   - smtpd_policy_service_timeout (100s), smtpd_policy_service_try_limit (2),
//     smtpd_policy_service_retry_delay (1s), smtpd_policy_service_default_action
//     (451 4.3.5 Server configuration problem), smtpd_policy_service_policy_context
//     (empty), smtpd_policy_service_max_idle (300s), smtpd_policy_service_max_ttl
//     (1000s), smtpd_policy_service_request_limit (0).
//   - smtpd_sasl_auth_enable (no), smtpd_sasl_type (cyrus; dovecot is what there is),
//     smtpd_sasl_path (smtpd), smtpd_sasl_service (smtp): AUTH, and who decides.
//   - smtpd_tls_auth_only (no), smtpd_sasl_security_options (noanonymous),
//     smtpd_sasl_tls_security_options ($smtpd_sasl_security_options),
//     smtpd_sasl_mechanism_filter (!external, static:rest),
//     smtpd_sasl_exceptions_networks (empty): what is offered to whom.
//   - smtpd_sasl_response_limit (12288): bytes of one response.
//   - smtpd_sasl_authenticated_header (no), broken_sasl_auth_clients (no),
//     smtpd_sender_login_maps (empty).
//   - smtputf8_enable (yes), strict_smtputf8 (no), strict_rfc821_envelopes (no):
//     what an address may look like.
//   - content_filter (empty), receive_override_options (empty),
//     local_header_rewrite_clients (permit_inet_interfaces): what cleanup is told.
//   - soft_bounce (no): make all refusals temporary.
//   - notify_classes (resource, software), error_notice_recipient (postmaster):
//     mail a transcript of sessions that had trouble (DIAGNOSTICS).
//
// # DIAGNOSTICS
//
// Sessions, refusals and limits are logged. With smtpd_tls_loglevel = 1 each
// handshake is a line: Anonymous (no client certificate), Untrusted or Trusted. With -v each decision of a
// restriction is logged with its reason.
//
// When a session ends that had trouble of a class in notify_classes, its last 8 Kbytes of
// commands and replies are mailed to error_notice_recipient: policy (refused
// by a restriction or a limit), protocol (errors of the client), resource (no room in
// the queue, a service that is down), software (a mistake in the configuration, a daemon
// that failed), data (a table or a name server that failed). What AUTH says, and
// the content of messages, is not in it. Beware of policy and protocol on a server that
// the world can reach: each stranger's session is a message.
//
// # SECURITY
//
// The SMTP server talks to everybody, runs without privileges and can run in a
// chroot. These answers are stricter than Postfix's: a command above
// line_length_limit is one error and its tail is never a command; control
// characters are not part of any argument; ORCPT and ENVID with encoded control
// characters are refused; repeated parameters are refused.
//
// # SEE ALSO
//
// cleanup(8), master(8), postconf(5), access(5)
package main
