package config

// smtpTlsParams are the parameters of TLS, REQUIRETLS and SASL in the SMTP client.
var smtpTlsParams = []Param{
	{Name: "requiretls_enable", Kind: Bool, Default: "yes", Status: Implemented,
		Doc: "Support REQUIRETLS (RFC 8689): announce it, accept and keep the request, and act on it."},
	{Name: "requiretls_esmtp_header", Kind: Bool, Default: "yes", Status: Implemented,
		Doc: "Add the header Require-TLS-ESMTP: yes to a message with a REQUIRETLS request, and take such a header " +
			"for a request."},
	{Name: "requiretls_redact_dsn", Kind: Bool, Default: "yes", Status: Implemented,
		Doc: "Return only the headers of a message with a REQUIRETLS request in notifications."},
	{Name: "smtp_requiretls_policy", Kind: List, Default: "inline:{{${domain_to_ascii{$mydomain}}=opportunistic}, {.${domain_to_ascii{$mydomain}}=opportunistic}, {localhost=opportunistic}}, cidr:{{0.0.0.0/0 opportunistic}, {::/0 opportunistic}}, enforce", Readers: "smtp", Status: Implemented,
		Doc: "How far REQUIRETLS, where a sender asked for it, is enforced for a destination: words and " +
			"tables, of which the first that decides counts. enforce: TLS with a matching certificate, a secure " +
			"MX lookup and REQUIRETLS, or the message returns. opportunistic+starttls: TLS. opportunistic: " +
			"REQUIRETLS where it is offered. disable: as if nobody had asked."},
	{Name: "smtp_sasl_auth_cache_name", Kind: Str, Default: "", Readers: "smtp"},
	{Name: "smtp_sasl_auth_cache_time", Kind: Time, Default: "90d", Readers: "smtp"},
	{Name: "smtp_sasl_auth_enable", Kind: Bool, Default: "no", Readers: "smtp"},
	{Name: "smtp_sasl_auth_soft_bounce", Kind: Bool, Default: "yes", Readers: "smtp"},
	{Name: "smtp_sasl_mechanism_filter", Kind: Str, Default: "", Readers: "smtp"},
	{Name: "smtp_sasl_password_maps", Kind: List, Default: "", Readers: "smtp"},
	{Name: "smtp_sasl_password_result_delimiter", Kind: Str, Default: ":", Readers: "smtp"},
	{Name: "smtp_sasl_path", Kind: Str, Default: "", Readers: "smtp"},
	{Name: "smtp_sasl_security_options", Kind: List, Default: "noplaintext, noanonymous", Readers: "smtp"},
	{Name: "smtp_sasl_tls_security_options", Kind: List, Default: "$smtp_sasl_security_options", Readers: "smtp"},
	{Name: "smtp_sasl_tls_verified_security_options", Kind: List, Default: "$smtp_sasl_tls_security_options", Readers: "smtp"},
	{Name: "smtp_sasl_type", Kind: Str, Default: "cyrus", Readers: "smtp"},
	{Name: "smtp_tls_CAfile", Kind: Str, Default: "", Readers: "smtp", Status: Implemented,
		Doc: "The file with the CA certificates that levels verify and secure trust."},
	{Name: "smtp_tls_CApath", Kind: Str, Default: "", Readers: "smtp", Status: Implemented,
		Doc: "A directory with such files, whatever their names are."},
	{Name: "smtp_tls_block_early_mail_reply", Kind: Bool, Default: "no", Readers: "smtp", Status: Implemented,
		Doc: "Give up a TLS connection whose server has answered a mail command before one was sent: " +
			"somebody else spoke first."},
	{Name: "smtp_tls_cert_file", Kind: Str, Default: "", Readers: "smtp", Status: Implemented,
		Doc: "The RSA certificate to show to servers that ask for one, followed by its issuers."},
	{Name: "smtp_tls_chain_files", Kind: List, Default: "", Readers: "smtp", Status: Implemented,
		Doc: "Files with private key, certificate and issuers, in this order, to show to servers; in " +
			"place of the parameters for single files."},
	{Name: "smtp_tls_ciphers", Kind: Str, Default: "medium", Readers: "smtp", Status: Implemented,
		Doc: "The weakest cipher grade at level may."},
	{Name: "smtp_tls_connection_reuse", Kind: Bool, Default: "no", Readers: "smtp", Status: Implemented,
		Doc: "Use a TLS connection for more than one message."},
	{Name: "smtp_tls_dane_insecure_mx_policy", Kind: Enum, Default: "dane", Values: "may encrypt dane", Readers: "smtp", Status: Implemented,
		Doc: "What level dane means for a host with TLSA records whose name came from MX records without DNSSEC: " +
			"may, encrypt, or dane (logged as halfdane)."},
	{Name: "smtp_tls_dcert_file", Kind: Str, Default: "", Readers: "smtp"},
	{Name: "smtp_tls_dkey_file", Kind: Str, Default: "$smtp_tls_dcert_file", Readers: "smtp"},
	{Name: "smtp_tls_eccert_file", Kind: Str, Default: "", Readers: "smtp", Status: Implemented,
		Doc: "As smtp_tls_cert_file, for ECDSA."},
	{Name: "smtp_tls_eckey_file", Kind: Str, Default: "$smtp_tls_eccert_file", Readers: "smtp", Status: Implemented,
		Doc: "The private key of smtp_tls_eccert_file."},
	{Name: "smtp_tls_enable_rpk", Kind: Bool, Default: "no", Readers: "smtp"},
	{Name: "smtp_tls_enforce_peername", Kind: Bool, Default: "yes", Readers: "smtp", Status: Implemented,
		Doc: "Whether smtp_enforce_tls demands a certificate with the name of the server."},
	{Name: "smtp_tls_enforce_sts_mx_patterns", Kind: Bool, Default: "yes", Readers: "smtp", Status: Implemented,
		Doc: "Deliver only to MX hosts that a pattern of the destination's MTA-STS policy allows, and demand a " +
			"certificate with the host's name, when the answer of a policy plug-in has policy_type=sts and " +
			"mx_host_pattern."},
	{Name: "smtp_tls_exclude_ciphers", Kind: Str, Default: "", Readers: "smtp", Status: Implemented,
		Doc: "Ciphers that are not used at any level."},
	{Name: "smtp_tls_fingerprint_cert_match", Kind: Str, Default: "", Readers: "smtp", Status: Implemented,
		Doc: "The fingerprints of certificates or public keys that level fingerprint accepts, in hexadecimal " +
			"digits with or without colons."},
	{Name: "smtp_tls_fingerprint_digest", Kind: Str, Default: "${{$compatibility_level} <level {3.6} ? {md5} : {sha256}}", Readers: "smtp", Status: Implemented,
		Doc: "The digest algorithm of fingerprints: sha256, sha384, sha512, sha224, sha1 or md5."},
	{Name: "smtp_tls_force_insecure_host_tlsa_lookup", Kind: Bool, Default: "no", Readers: "smtp", Status: Implemented,
		Doc: "Look for TLSA records even when the addresses of a host are not verified with DNSSEC."},
	{Name: "smtp_tls_key_file", Kind: Str, Default: "$smtp_tls_cert_file", Readers: "smtp", Status: Implemented,
		Doc: "The private key of smtp_tls_cert_file."},
	{Name: "smtp_tls_loglevel", Kind: Str, Default: "0", Readers: "smtp tlsmgr", Status: Implemented,
		Doc: "What to log about TLS: 0 nothing, 1 one line for each handshake, 2 the certificate and " +
			"what was compared, too; or a list of summary, untrusted, peercert, certmatch."},
	{Name: "smtp_tls_loglevel_maps", Kind: List, Default: "", Readers: "smtp"},
	{Name: "smtp_tls_mandatory_ciphers", Kind: Str, Default: "medium", Readers: "smtp", Status: Implemented,
		Doc: "The weakest cipher grade at level encrypt and above."},
	{Name: "smtp_tls_mandatory_exclude_ciphers", Kind: Str, Default: "", Readers: "smtp", Status: Implemented,
		Doc: "Ciphers that are not used at level encrypt and above, beside smtp_tls_exclude_ciphers."},
	{Name: "smtp_tls_mandatory_protocols", Kind: List, Default: ">=TLSv1", Readers: "smtp", Status: Implemented,
		Doc: "The TLS versions at level encrypt and above."},
	{Name: "smtp_tls_note_starttls_offer", Kind: Bool, Default: "no", Readers: "smtp", Status: Implemented,
		Doc: "Log the name of a server that offers TLS where the level is none."},
	{Name: "smtp_tls_per_site", Kind: Str, Default: "", Readers: "smtp", Status: Implemented,
		Doc: "Old form of smtp_tls_policy_maps: tables of destinations and hosts with NONE, MAY, MUST_NOPEERMATCH " +
			"or MUST. Not used when smtp_tls_policy_maps is set."},
	{Name: "smtp_tls_policy_maps", Kind: List, Default: "", Readers: "smtp", Status: Implemented,
		Doc: "Tables of destinations with a security level and attributes: match, protocols, ciphers, exclude, " +
			"tafile, servername, connection_reuse, enable_rpk, and those of an MTA-STS plug-in. A domain is " +
			"looked up as written, in A-labels, then its parents as .domain."},
	{Name: "smtp_tls_protocols", Kind: List, Default: ">=TLSv1", Readers: "smtp", Status: Implemented,
		Doc: "The TLS versions at level may."},
	{Name: "smtp_tls_scert_verifydepth", Kind: Int, Default: "9", Readers: "smtp"},
	{Name: "smtp_tls_secure_cert_match", Kind: Str, Default: "nexthop, dot-nexthop", Readers: "smtp", Status: Implemented,
		Doc: "The names that a certificate may have at level secure: nexthop, dot-nexthop, hostname, domains, " +
			".domains."},
	{Name: "smtp_tls_security_level", Kind: Str, Default: "${{$compatibility_level} <level {3.11} ? {} : {may}}", Readers: "smtp", Status: Implemented,
		Doc: "How much TLS is needed where no table says otherwise: none, may, encrypt, fingerprint, verify, " +
			"secure, dane, dane-only. Empty: as the old parameters say."},
	{Name: "smtp_tls_servername", Kind: Str, Default: "", Readers: "smtp", Status: Implemented,
		Doc: "The server name to send in the handshake (SNI): a name, hostname or nexthop. With TLSA records it is " +
			"their base domain."},
	{Name: "smtp_tls_session_cache_database", Kind: Str, Default: "", Readers: "smtp tlsmgr", Status: Implemented,
		Doc: "Anything but empty: sessions are resumed, as long as the process lives. No file is made."},
	{Name: "smtp_tls_session_cache_timeout", Kind: Time, Default: "3600s", Readers: "smtp tlsmgr"},
	{Name: "smtp_tls_trace_size_limit", Kind: Int, Default: "102400", Readers: "smtp"},
	{Name: "smtp_tls_trust_anchor_file", Kind: Str, Default: "", Readers: "smtp", Status: Implemented,
		Doc: "Files with the certificates that levels verify and secure trust, in place of smtp_tls_CAfile and " +
			"smtp_tls_CApath: of CAs at the root or below it, whose dates do not matter. mail_owner must be able to read them, in the " +
			"chroot if there is one. Bare public keys are not supported."},
	{Name: "smtp_tls_verify_cert_match", Kind: Str, Default: "hostname", Readers: "smtp", Status: Implemented,
		Doc: "The names that a certificate may have at level verify: hostname, nexthop, dot-nexthop, domains, " +
			".domains."},
	{Name: "smtp_tls_wrappermode", Kind: Bool, Default: "no", Readers: "smtp", Status: Implemented,
		Doc: "Begin TLS at once, without STARTTLS, as on port 465. Needs level encrypt or a stronger one."},
	{Name: "smtp_tlsrpt_enable", Kind: Bool, Default: "no", Readers: "smtp"},
	{Name: "smtp_tlsrpt_skip_reused_handshakes", Kind: Bool, Default: "no", Readers: "smtp"},
	{Name: "smtp_tlsrpt_socket_name", Kind: Str, Default: "", Readers: "smtp"},
	{Name: "tls_required_enable", Kind: Bool, Default: "yes", Status: Implemented,
		Doc: "Honour the header TLS-Required: no."},
}
