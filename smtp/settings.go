package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/smtpclient"
	"sealpost/lib/tlsconn"
)

// settings are the parameters of one program: smtp_... or lmtp_... of main.cf.
type settings struct {
	lmtp       bool
	myHostname string
	// talk is how a connection is opened.
	talk smtpclient.Settings

	connectTimeout, mailTimeout, rcptTimeout            time.Duration
	dataInitTimeout, dataXferTimeout, dataDoneTimeout   time.Duration
	rsetTimeout                                         time.Duration
	perRequest                                          bool
	minDataRate                                         int
	lineLimit                                           int
	bind4, bind6                                        netip.Addr
	quoteEnvelope, assumeFinal, probeData, noConversion bool
	sessionLimit                                        int
	fallback                                            string
	requireTLS, tlsRequired, softBounce                 bool
	logTLS, noteOffer, blockEarlyReply                  bool
	tlsLog                                              tlsconn.LogLevel
	digest                                              string
	minBackoff                                          time.Duration
	relayhost, bestMXTransport                          string
	cacheOnDemand                                       bool
	sendXForward                                        bool
	xforwardTimeout                                     time.Duration
	cacheLimit, reuseTimeLimit                          time.Duration
	reuseCountLimit                                     int
}

// loader reads parameters of smtp(8) or lmtp(8) by their common ending and keeps
// the first error.
type loader struct {
	c      *config.Config
	prefix string
	err    error
}

func (l *loader) str(name string) string         { return l.c.Str(l.prefix + name) }
func (l *loader) bool(name string) bool          { return l.c.Bool(l.prefix + name) }
func (l *loader) int(name string) int            { return l.c.Int(l.prefix + name) }
func (l *loader) time(name string) time.Duration { return l.c.Time(l.prefix + name) }

func (l *loader) fail(name string, err error) {
	if l.err == nil && err != nil {
		l.err = fmt.Errorf("parameter %s%s: %w", l.prefix, name, err)
	}
}

// addr reads an address of the wanted family; empty is the zero Addr.
func (l *loader) addr(name string, v4 bool) netip.Addr {
	text := strings.Trim(l.str(name), "[]")
	if text == "" {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(text)
	if err == nil && addr.Is4() != v4 {
		err = fmt.Errorf("%q is an address of the wrong family", text)
	}
	l.fail(name, err)
	return addr
}

// load reads the settings for the program smtp or lmtp.
func load(c *config.Config, lmtp bool) (*settings, error) {
	l := &loader{c: c, prefix: "smtp_"}
	if lmtp {
		l.prefix = "lmtp_"
	}
	set := &settings{
		lmtp:            lmtp,
		myHostname:      c.Str("myhostname"),
		connectTimeout:  l.time("connect_timeout"),
		mailTimeout:     l.time("mail_timeout"),
		rcptTimeout:     l.time("rcpt_timeout"),
		dataInitTimeout: l.time("data_init_timeout"),
		dataXferTimeout: l.time("data_xfer_timeout"),
		dataDoneTimeout: l.time("data_done_timeout"),
		rsetTimeout:     l.time("rset_timeout"),
		perRequest:      l.bool("per_request_deadline"),
		minDataRate:     l.int("min_data_rate"),
		lineLimit:       l.int("line_length_limit"),
		quoteEnvelope:   l.bool("quote_rfc821_envelope"),
		probeData:       l.str("address_verify_target") == "data",
		noConversion:    c.Bool("disable_mime_output_conversion"),
		sessionLimit:    l.int("mx_session_limit"),
		fallback:        l.str("fallback_relay"),
		requireTLS:      c.Bool("requiretls_enable"),
		tlsRequired:     c.Bool("tls_required_enable"),
		softBounce:      c.Bool("soft_bounce"),
		logTLS:          l.bool("log_tls_feature_status"),
		noteOffer:       l.bool("tls_note_starttls_offer"),
		blockEarlyReply: !lmtp && l.bool("tls_block_early_mail_reply"),
		minBackoff:      c.Time("minimal_backoff_time"),
		relayhost:       c.Str("relayhost"),
		bestMXTransport: c.Str("best_mx_transport"),
		cacheOnDemand:   l.bool("connection_cache_on_demand"),
		sendXForward:    l.bool("send_xforward_command"),
		xforwardTimeout: l.time("xforward_timeout"),
		cacheLimit:      min(l.time("connection_cache_time_limit"), c.Time("connection_cache_ttl_limit")),
		reuseTimeLimit:  l.time("connection_reuse_time_limit"),
		reuseCountLimit: l.int("connection_reuse_count_limit"),
		bind4:           l.addr("bind_address", true),
		bind6:           l.addr("bind_address6", false),
	}
	set.digest = l.str("tls_fingerprint_digest")
	var err error
	set.tlsLog, err = tlsconn.ParseLogLevel(l.str("tls_loglevel"))
	l.fail("tls_loglevel", err)
	if set.talk, err = smtpclient.Load(c, lmtp); err != nil {
		return nil, err
	}
	if lmtp {
		set.assumeFinal = c.Bool("lmtp_assume_final")
	}
	return set, l.err
}
