package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/dns"
	"sealpost/lib/ehlo"
	"sealpost/lib/mailproto"
	"sealpost/lib/smtpio"
)

// settings are the parameters that smtpd reads. There are two of them in a
// worker: for normal times and for stress.
type settings struct {
	MyHostname string `conf:"myhostname"`
	MailName   string `conf:"mail_name"`
	Banner     string `conf:"smtpd_banner"`
	MyNetworks string `conf:"mynetworks"`

	LineLimit     int   `conf:"line_length_limit"`
	MessageLimit  int64 `conf:"message_size_limit"`
	QueueMinFree  int64 `conf:"queue_minfree"`
	RcptLimit     int   `conf:"smtpd_recipient_limit"`
	RcptOvershoot int   `conf:"smtpd_recipient_overshoot_limit"`
	SoftErrors    int   `conf:"smtpd_soft_error_limit"`
	HardErrors    int   `conf:"smtpd_hard_error_limit"`
	JunkCommands  int   `conf:"smtpd_junk_command_limit"`

	Timeout         time.Duration `conf:"smtpd_timeout"`
	ErrorSleep      time.Duration `conf:"smtpd_error_sleep_time"`
	RequestDeadline bool          `conf:"smtpd_per_request_deadline"`
	MinDataRate     int           `conf:"smtpd_min_data_rate"`

	ConnCountLimit int    `conf:"smtpd_client_connection_count_limit"`
	ConnExceptions string `conf:"smtpd_client_event_limit_exceptions"`
	IPv4Prefix     int    `conf:"smtpd_client_ipv4_prefix_length"`
	IPv6Prefix     int    `conf:"smtpd_client_ipv6_prefix_length"`

	HeloRequired     bool     `conf:"smtpd_helo_required"`
	DisableVRFY      bool     `conf:"disable_vrfy_command"`
	DiscardKeywords  []string `conf:"smtpd_discard_ehlo_keywords"`
	DiscardMaps      string   `conf:"smtpd_discard_ehlo_keyword_address_maps"`
	ForbiddenCmds    string   `conf:"smtpd_forbidden_commands"`
	NoopCmds         []string `conf:"smtpd_noop_commands"`
	BareLF           string   `conf:"smtpd_forbid_bare_newline"`
	BareLFExclusions string   `conf:"smtpd_forbid_bare_newline_exclusions"`
	BareLFCode       int      `conf:"smtpd_forbid_bare_newline_reject_code"`
	NoPipelining     bool     `conf:"smtpd_forbid_unauth_pipelining"`

	PeernameLookup bool     `conf:"smtpd_peername_lookup"`
	PortLogging    bool     `conf:"smtpd_client_port_logging"`
	HideSession    bool     `conf:"smtpd_hide_client_session"`
	DelayReject    bool     `conf:"smtpd_delay_reject"`
	DelayOpen      bool     `conf:"smtpd_delay_open_until_valid_rcpt"`
	RelayFirst     bool     `conf:"smtpd_relay_before_recipient_restrictions"`
	SoftBounce     bool     `conf:"soft_bounce"`
	InetProtocols  []string `conf:"inet_protocols"`

	XClientHosts     string   `conf:"smtpd_authorized_xclient_hosts"`
	XForwardHosts    string   `conf:"smtpd_authorized_xforward_hosts"`
	ClientCerts      string   `conf:"relay_clientcerts"`
	NullKey          string   `conf:"smtpd_null_access_lookup_key"`
	ContentFilter    string   `conf:"content_filter"`
	ReceiveOverrides []string `conf:"receive_override_options"`
	RewriteClients   []string `conf:"local_header_rewrite_clients"`
	SMTPUTF8         bool     `conf:"smtputf8_enable"`
	StrictSMTPUTF8   bool     `conf:"strict_smtputf8"`
	AutoUTF8Classes  []string `conf:"smtputf8_autodetect_classes"`
	Strict821        bool     `conf:"strict_rfc821_envelopes"`
	NotifyClasses    []string `conf:"notify_classes"`
	ErrorNotice      string   `conf:"error_notice_recipient"`
	CleanupService   string   `conf:"cleanup_service_name"`
	FlushService     string   `conf:"flush_service_name"`

	lists        restrictionParams
	codes        replyCodes
	recipientSet recipientParams
	dns          dns.Settings
	starttls     tlsParams
	sasl         saslParams
	proxy        proxyParams

	discard   ehlo.Set
	bareLF    bareLFPolicy
	overrides mailproto.Overrides
}

// restrictionParams are the restriction lists as written.
type restrictionParams struct {
	Client    string   `conf:"smtpd_client_restrictions"`
	Helo      string   `conf:"smtpd_helo_restrictions"`
	Sender    string   `conf:"smtpd_sender_restrictions"`
	Relay     string   `conf:"smtpd_relay_restrictions"`
	Recipient string   `conf:"smtpd_recipient_restrictions"`
	Data      string   `conf:"smtpd_data_restrictions"`
	EndOfData string   `conf:"smtpd_end_of_data_restrictions"`
	ETRN      string   `conf:"smtpd_etrn_restrictions"`
	Classes   []string `conf:"smtpd_restriction_classes"`
}

// replyCodes are the configurable reply codes of restrictions.
type replyCodes struct {
	AccessReject      int    `conf:"access_map_reject_code"`
	AccessDefer       int    `conf:"access_map_defer_code"`
	Reject            int    `conf:"reject_code"`
	Defer             int    `conf:"defer_code"`
	Relay             int    `conf:"relay_domains_reject_code"`
	InvalidHostname   int    `conf:"invalid_hostname_reject_code"`
	NonFQDN           int    `conf:"non_fqdn_reject_code"`
	UnknownAddress    int    `conf:"unknown_address_reject_code"`
	UnknownClient     int    `conf:"unknown_client_reject_code"`
	UnknownHostname   int    `conf:"unknown_hostname_reject_code"`
	MultiBounce       int    `conf:"multi_recipient_bounce_reject_code"`
	PlainText         int    `conf:"plaintext_reject_code"`
	LocalUnknown      int    `conf:"unknown_local_recipient_reject_code"`
	AliasUnknown      int    `conf:"unknown_virtual_alias_reject_code"`
	MailboxUnknown    int    `conf:"unknown_virtual_mailbox_reject_code"`
	RelayUnknown      int    `conf:"unknown_relay_recipient_reject_code"`
	AddressTempfail   string `conf:"unknown_address_tempfail_action"`
	HeloTempfail      string `conf:"unknown_helo_hostname_tempfail_action"`
	ShowUnknownTables bool   `conf:"show_user_unknown_table_name"`
}

// recipientParams are the tables of known recipients and senders.
type recipientParams struct {
	UnlistedRecipient bool   `conf:"smtpd_reject_unlisted_recipient"`
	UnlistedSender    bool   `conf:"smtpd_reject_unlisted_sender"`
	LocalMaps         string `conf:"local_recipient_maps"`
	RelayMaps         string `conf:"relay_recipient_maps"`
	MailboxMaps       string `conf:"virtual_mailbox_maps"`
	AliasMaps         string `conf:"virtual_alias_maps"`
	CanonicalMaps     string `conf:"canonical_maps"`
	RcptCanonicalMaps string `conf:"recipient_canonical_maps"`
	SndrCanonicalMaps string `conf:"sender_canonical_maps"`
	Delimiters        string `conf:"recipient_delimiter"`
}

// bareLFPolicy is the value of smtpd_forbid_bare_newline.
type bareLFPolicy int

const (
	bareLFNo bareLFPolicy = iota
	bareLFNormalize
	bareLFNote
	bareLFReject
)

// end is what ends the content under this policy.
func (p bareLFPolicy) end() smtpio.EndOfData {
	if p == bareLFNo {
		return smtpio.AnyEnd
	}
	return smtpio.StandardEnd
}

// decode reads the settings and checks what the parameter table cannot.
func decode(c *config.Config) (*settings, error) {
	s := &settings{}
	for _, part := range []any{s, &s.lists, &s.codes, &s.recipientSet, &s.dns, &s.starttls, &s.sasl, &s.proxy} {
		if err := c.Decode(part); err != nil {
			return nil, err
		}
	}
	switch v := strings.ToLower(s.BareLF); v {
	case "no":
		s.bareLF = bareLFNo
	case "yes", "normalize":
		s.bareLF = bareLFNormalize
	case "note":
		s.bareLF = bareLFNote
	case "reject":
		s.bareLF = bareLFReject
	default:
		return nil, fmt.Errorf("parameter smtpd_forbid_bare_newline: bad value %q; specify one of: no, yes, normalize, note, reject", s.BareLF)
	}
	s.discard = ehlo.Parse(s.DiscardKeywords)
	var err error
	s.overrides, err = mailproto.ParseOverrides(s.ReceiveOverrides)
	return s, err
}

// proto reports whether IPv4 and IPv6 are used.
func (s *settings) proto() (v4, v6 bool) {
	all := slices.Contains(s.InetProtocols, "all")
	return all || slices.Contains(s.InetProtocols, "ipv4"), all || slices.Contains(s.InetProtocols, "ipv6")
}
