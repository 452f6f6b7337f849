package config

import "strings"

// deprecated are the parameters that Postfix 3.12 announces to remove, each with
// what to do in its place, in the words that follow "instead, ".
var deprecated = map[string]string{
	"authorized_verp_clients":                  `specify "smtpd_authorized_verp_clients"`,
	"disable_dns_lookups":                      `specify "smtp_dns_support_level"`,
	"fallback_relay":                           `specify "smtp_fallback_relay"`,
	"lmtp_cname_overrides_servername":          "do not specify (leave at default)",
	"lmtp_enforce_tls":                         `specify "lmtp_tls_security_level"`,
	"lmtp_per_record_deadline":                 `specify "lmtp_per_request_deadline"`,
	"lmtp_tls_enforce_peername":                `specify "lmtp_tls_security_level"`,
	"lmtp_tls_per_site":                        `specify "lmtp_tls_policy_maps"`,
	"lmtp_use_tls":                             `specify "lmtp_tls_security_level"`,
	"postscreen_blacklist_action":              `specify "postscreen_denylist_action"`,
	"postscreen_dnsbl_ttl":                     `specify "postscreen_dnsbl_max_ttl"`,
	"postscreen_dnsbl_whitelist_threshold":     `specify "postscreen_dnsbl_allowlist_threshold"`,
	"postscreen_enforce_tls":                   `specify "postscreen_tls_security_level"`,
	"postscreen_tls_dh512_param_file":          "do not specify (leave at default)",
	"postscreen_use_tls":                       `specify "postscreen_tls_security_level"`,
	"postscreen_whitelist_interfaces":          `specify "postscreen_allowlist_interfaces"`,
	"smtp_cname_overrides_servername":          "do not specify (leave at default)",
	"smtp_enforce_tls":                         `specify "smtp_tls_security_level"`,
	"smtp_per_record_deadline":                 `specify "smtp_per_request_deadline"`,
	"smtp_tls_enforce_peername":                `specify "smtp_tls_security_level"`,
	"smtp_tls_per_site":                        `specify "smtp_tls_policy_maps"`,
	"smtp_use_tls":                             `specify "smtp_tls_security_level"`,
	"smtpd_client_connection_limit_exceptions": `specify "smtpd_client_event_limit_exceptions"`,
	"smtpd_enforce_tls":                        `specify "smtpd_tls_security_level"`,
	"smtpd_per_record_deadline":                `specify "smtpd_per_request_deadline"`,
	"smtpd_tls_dh512_param_file":               "do not specify (leave at default)",
	"smtpd_use_tls":                            `specify "smtpd_tls_security_level"`,
	"tlsproxy_client_enforce_tls":              `specify "tlsproxy_client_security_level"`,
	"tlsproxy_client_level":                    `specify "tlsproxy_client_security_level"`,
	"tlsproxy_client_per_site":                 `specify "tlsproxy_client_policy_maps"`,
	"tlsproxy_client_policy":                   `specify "tlsproxy_client_policy_maps"`,
	"tlsproxy_client_use_tls":                  `specify "tlsproxy_client_security_level"`,
	"tlsproxy_enforce_tls":                     `specify "tlsproxy_tls_security_level"`,
	"tlsproxy_tls_dh512_param_file":            "do not specify (leave at default)",
	"tlsproxy_use_tls":                         `specify "tlsproxy_tls_security_level"`,
	"virtual_maps":                             `specify "virtual_alias_maps"`,
}

// Deprecated says what to do in place of a parameter that will be removed:
// `specify "smtpd_tls_security_level"`.
func Deprecated(name string) (instead string, ok bool) {
	instead, ok = deprecated[name]
	return instead, ok
}

// readOnly are the parameters that a daemon knows of itself.
var readOnly = map[string]bool{"process_name": true, "process_id": true, "service_name": true}

// unsupported says for parameters that nothing acts on what to do. A pattern is a
// name, or the begin or end of one with "*" for the rest; the first that fits counts.
var unsupported = []struct{ patterns, instead string }{
	{"html_directory readme_directory sample_directory manpage_directory meta_directory shlib_directory sendmail_path " +
		"mailq_path newaliases_path openssl_path mail_release_date dont_remove",
		"nothing reads it; it may stay or be removed"},
	{"*_service_name", "services have the names of master.cf; remove it"},
	{"postscreen_* dnsblog_*", "there is no postscreen; let smtpd listen on the port, and remove it"},
	{"tlsproxy_*", "smtp and smtpd speak TLS themselves; use the smtp_tls_ and smtpd_tls_ parameters"},
	{"milter_header_checks milter_* smtpd_milters smtpd_milter_maps non_smtpd_milters internal_mail_filter_classes",
		"mail filters (milters) are not called; use a filter that speaks SMTP or LMTP with content_filter"},
	{"smtpd_sasl_local_domain cyrus_sasl_config_path",
		"users are what Dovecot says they are: it has auth_default_realm; remove it"},
	{"local_login_sender_maps empty_address_local_login_sender_maps_lookup_key",
		"sendmail takes any sender from local users; remove it"},
	{"smtp_sasl_* lmtp_sasl_* smtp_send_dummy_mail_auth lmtp_send_dummy_mail_auth send_cyrus_sasl_authzid *_sender_dependent_authentication",
		"the SMTP client does not log in; the next hop must know this host by its address"},
	{"*_enable_rpk", "raw public keys (RFC 7250) cannot be used with this TLS library; remove it"},
	{"*_cipherlist tls_preempt_cipherlist tls_ssl_options tls_disable_workarounds tls_eecdh_* tls_ffdhe_auto_groups *_eecdh_grade *_dh1024_param_file " +
		"*_dh512_param_file tls_config_file tls_config_name *_dcert_file *_dkey_file tls_export_cipherlist",
		"cipher suites, groups and DH parameters are those of Go's crypto/tls; remove it"},
	{"tls_random_* tls_daemon_random_bytes tls_session_ticket_cipher tls_fast_shutdown_enable",
		"random numbers and ticket keys come from Go's crypto/tls; remove it"},
	{"smtp_use_tls lmtp_use_tls smtp_enforce_tls lmtp_enforce_tls smtp_tls_enforce_peername lmtp_tls_enforce_peername smtp_tls_per_site lmtp_tls_per_site",
		"use smtp_tls_security_level and smtp_tls_policy_maps"},
	{"smtpd_use_tls smtpd_enforce_tls", "use smtpd_tls_security_level"},
	{"smtp_tls_* lmtp_tls_* smtpd_tls_* tls_* *_starttls_timeout smtp_log_tls_feature_status lmtp_log_tls_feature_status *_tlsrpt_*",
		"this part of TLS is not there; remove it"},
	{"*_requiretls_policy", "REQUIRETLS is not there for this service; remove it"},
	{"alias_maps alias_database allow_mail_to_* biff command_* default_privs execution_directory_expansion_filter expand_owner_alias " +
		"export_environment fallback_transport fallback_transport_maps forward_* frozen_delivered_to home_mailbox local_* luser_relay " +
		"mail_spool_directory mailbox_* owner_request_special prepend_delivered_header require_home_directory reset_owner_alias " +
		"strict_mailbox_ownership sun_mailtool_compatibility stale_lock_time",
		"there is no local(8) delivery; use virtual_mailbox_domains, or local_transport with an LMTP server"},
	{"force_mime_input_conversion strict_7bit_headers strict_8bitmime* strict_mime_encoding_domain detect_8bit_encoding_header " +
		"message_reject_characters message_strip_characters",
		"this is not looked for; use header_checks and body_checks, or a content_filter"},
	{"address_verify_* unverified_*", "addresses are not probed; list the recipients in relay_recipient_maps or a local table"},
	{"fast_flush_*", "there is no flush service; use postqueue -f"},
	{"qmqpd_*", "there is no QMQP server; submit by SMTP or sendmail(1)"},
	{"multi_instance_* postmulti_*", "start each instance with its own directory: sealpost -c DIR start"},
	{"non_bdb_* lmdb_map_size berkeley_db_* default_cache_db_type", "indexed tables are bbolt files: run postmap once for each, and remove it"},
	{"*_rate_limit anvil_*", "clients are not counted by time; use smtpd_client_connection_count_limit"},
	{"*_upstream_proxy_*", "the proxy protocol is not spoken; clients must connect without a proxy"},
	{"rbl_reply_maps default_rbl_reply maps_rbl_*", "DNS block lists are not asked; remove it"},
	{"*_pix_workaround*", "faults of old PIX firewalls are not worked around; remove it"},
	{"use_srv_lookup *srv_lookup*", "SRV records are not looked up; name the hosts in relayhost or transport_maps"},
	{"dnssec_probe smtp_dns_resolver_options lmtp_dns_resolver_options", "DNS servers and what is believed of them: see dns_servers"},
	{"connection_cache_*", "smtp holds its own connections; remove it"},
	{"proxy_write_maps", "no table is written through proxymap; remove it"},
	{"fork_attempts fork_delay max_use ipc_idle ipc_ttl tcp_windowsize qmgr_fudge_factor application_event_drain_time",
		"one process serves all sessions of a service; remove it"},
}

// Instead says what to do about a parameter that the mail system does not act on.
func Instead(name string) string {
	for _, row := range unsupported {
		for _, pattern := range strings.Fields(row.patterns) {
			if matchName(pattern, name) {
				return row.instead
			}
		}
	}
	return "it has no effect; remove it"
}

// matchName compares a name with a pattern that may have "*" at one or both ends.
func matchName(pattern, name string) bool {
	begin, end := strings.HasSuffix(pattern, "*"), strings.HasPrefix(pattern, "*")
	text := strings.Trim(pattern, "*")
	switch {
	case begin && end:
		return strings.Contains(name, text)
	case begin:
		return strings.HasPrefix(name, text)
	case end:
		return strings.HasSuffix(name, text)
	}
	return name == text
}
