// # NAME
//
// cleanup - make messages complete and enter them into the mail queue
//
// # SYNOPSIS
//
//	cleanup [-c config_dir] [-v] [generic daemon options]
//
// # DESCRIPTION
//
// The cleanup daemon takes in messages from smtpd(8), pickup(8), bounce(8) and
// other daemons, completes them, writes them into the incoming queue and tells
// qmgr(8). It always answers its client: with success only when the message and
// its name are on stable storage, otherwise with a status that says what is
// wrong, and then nothing is left in the queue. A message from a client that
// asked for it is returned to its sender instead of refused.
//
// cleanup does the following, in this order:
//
//  1. It completes sender and recipients to user@domain, and maps them by
//     canonical_maps, masquerade_domains and virtual_alias_maps.
//  2. It leaves out duplicate recipients and adds those of always_bcc,
//     sender_bcc_maps and recipient_bcc_maps.
//  3. It completes the addresses in the header, removes headers that
//     message_drop_headers lists, and adds Message-Id:, Date: and From:, or
//     their Resent- forms, when a local message lacks them.
//  4. It counts Received: headers, and refuses a message that goes in circles.
//  5. It records a request for REQUIRETLS (RFC 8689) and for SMTPUTF8 (RFC 6531)
//     in the queue file, and notes the header TLS-Required: no.
//  6. It holds headers and lines against header_checks, mime_header_checks,
//     nested_header_checks and body_checks (see header_checks(5)), before it heeds
//     what headers say. Mail from other daemons, and from services with
//     receive_override_options = no_header_body_checks, is not looked at.
//  7. It replaces stray carriage returns and line feeds in lines by blanks.
//
// # SECURITY
//
// The cleanup daemon talks to no network and does not need privileges; it can
// run at fixed low privilege in a chroot jail. Records from clients are checked:
// what may not come from outside, such as pointers into the queue file, refuses
// the message.
//
// # STANDARDS
//
//   - RFC 5321 (SMTP)
//   - RFC 5322 (message format)
//   - RFC 3461 (delivery status notifications)
//   - RFC 6531 (internationalized mail)
//   - RFC 8689 (REQUIRETLS)
//
// # DIAGNOSTICS
//
// Problems and transactions are logged. The identifier of each message is
// logged as message-id=; when a message does not get into the queue the line
// "removed (canceled)" or "removed (discarded)" follows.
//
// # CONFIGURATION PARAMETERS
//
// Changes take effect with the next start of the worker: after "sealpost reload",
// or when a lookup table was replaced.
//
//   - always_add_missing_headers (no): add missing headers to mail from outside too.
//   - always_bcc (empty): an address that gets a copy of every message from outside.
//   - append_at_myorigin (yes), append_dot_mydomain (see postconf(5)): complete addresses.
//   - body_checks (empty), body_checks_size_limit (51200): what lines of the body mean,
//     and how many bytes of each MIME part are looked at.
//   - canonical_maps, sender_canonical_maps, recipient_canonical_maps (empty): address mapping.
//   - canonical_classes, sender_canonical_classes, recipient_canonical_classes: what they apply to.
//   - cleanup_replace_stray_cr_lf (yes): replace line ends inside lines by blanks.
//   - delay_warning_time (0h): when the sender is told that mail is delayed; 0 is never.
//   - duplicate_filter_limit (1000): how many recipients are remembered.
//   - empty_address_recipient (MAILER-DAEMON): who gets mail for the null address.
//   - header_address_token_limit (10240): tokens of one header that are looked at.
//   - header_checks (empty), mime_header_checks ($header_checks), nested_header_checks
//     ($header_checks): what headers mean. disable_mime_input_processing (no): all after
//     the header is body; mime_nesting_limit (100), mime_boundary_length_limit (2048).
//   - header_from_format (standard): the form of an added From: header.
//   - header_size_limit (102400): bytes of one header; the rest is cut off.
//   - hopcount_limit (50): Received: headers at which a message is refused.
//   - in_flow_delay (1s): longest pause before a message when qmgr(8) falls behind.
//   - line_length_limit (2048): longer lines are stored in pieces.
//   - masquerade_domains, masquerade_classes, masquerade_exceptions: hide host names.
//   - message_drop_headers (bcc, content-length, resent-bcc, return-path): removed.
//   - message_size_limit (10240000): bytes of a queue file; 0 is no limit.
//   - propagate_unmatched_extensions (canonical, virtual): keep the address extension.
//   - queue_file_attribute_count_limit (100): attributes in one envelope.
//   - recipient_bcc_maps, sender_bcc_maps (empty): automatic copies.
//   - recipient_delimiter (empty): separates an address from its extension.
//   - remote_header_rewrite_domain (empty): completes addresses in mail from outside.
//   - requiretls_enable (yes), requiretls_esmtp_header (yes): heed and add Require-TLS-ESMTP:.
//   - smtputf8_enable (yes): record where a message needs SMTPUTF8.
//   - tls_required_enable (yes): heed TLS-Required:.
//   - undisclosed_recipients_header (empty): added when no header names a recipient.
//   - virtual_alias_maps ($virtual_maps): aliases of whole domains or addresses.
//   - virtual_alias_address_length_limit (1000), virtual_alias_expansion_limit (1000),
//     virtual_alias_recursion_limit (1000): an expansion beyond them defers the message.
//
// # SEE ALSO
//
// qmgr(8), smtpd(8), pickup(8), bounce(8), postconf(5), virtual(5), canonical(5),
// header_checks(5)
package main
