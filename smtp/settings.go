package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/smtpclient"
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
	discardSilent                                       bool
	lineLimit                                           int
	bind4, bind6                                        netip.Addr
	quoteEnvelope, assumeFinal, probeData, noConversion bool
	sessionLimit                                        int
	fallback                                            string
	relayhost, bestMXTransport                          string
	cacheOnDemand                                       bool
	cacheLimit, reuseTimeLimit                          time.Duration
	reuseCountLimit                                     int
	defaultPort                                         uint16
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
func (l *loader) list(name string) []string      { return config.SplitList(l.str(name)) }

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

// pick is the parameter's ending for smtp or, where they differ, for lmtp.
func (l *loader) pick(smtp, lmtp string) string {
	if l.prefix == "lmtp_" {
		return lmtp
	}
	return smtp
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
		relayhost:       c.Str("relayhost"),
		bestMXTransport: c.Str("best_mx_transport"),
		cacheOnDemand:   l.bool("connection_cache_on_demand"),
		cacheLimit:      min(l.time("connection_cache_time_limit"), c.Time("connection_cache_ttl_limit")),
		reuseTimeLimit:  l.time("connection_reuse_time_limit"),
		reuseCountLimit: l.int("connection_reuse_count_limit"),
		bind4:           l.addr("bind_address", true),
		bind6:           l.addr("bind_address6", false),
	}
	set.talk = smtpclient.Settings{
		LMTP:             lmtp,
		MyHostname:       set.myHostname,
		HeloName:         l.str(l.pick("helo_name", "lhlo_name")),
		HeloTimeout:      l.time(l.pick("helo_timeout", "lhlo_timeout")),
		StartTLSTimeout:  l.time("starttls_timeout"),
		QuitTimeout:      l.time("quit_timeout"),
		PerRequest:       set.perRequest,
		Skip5xxGreeting:  l.bool("skip_5xx_greeting"),
		SkipQuitResponse: l.bool("skip_quit_response"),
	}
	set.talk.Discard, set.discardSilent = smtpclient.DiscardList(l.list(l.pick("discard_ehlo_keywords", "discard_lhlo_keywords")))
	port := l.str("tcp_port")
	if lmtp {
		set.assumeFinal = c.Bool("lmtp_assume_final")
	} else {
		set.talk.AlwaysEHLO, set.talk.NeverEHLO = c.Bool("smtp_always_send_ehlo"), c.Bool("smtp_never_send_ehlo")
	}
	if err := checkName(set.talk.HeloName); err != nil {
		l.fail(l.pick("helo_name", "lhlo_name"), err)
	}
	n, ok := services(c)(port)
	if !ok {
		l.fail("tcp_port", fmt.Errorf("unknown port %q", port))
	}
	set.defaultPort = n
	if !lmtp {
		// On another port there is a content filter or a test: not a loop.
		set.talk.LoopPort = 25
	}
	return set, l.err
}

// checkName: what is said in EHLO must not break the line.
func checkName(name string) error {
	if name == "" || strings.IndexFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) >= 0 {
		return fmt.Errorf("%q cannot be said in a greeting", name)
	}
	return nil
}

// services resolves port names by known_tcp_ports, then by the system.
func services(c *config.Config) func(string) (uint16, bool) {
	known := make(map[string]uint16)
	for _, item := range config.SplitList(c.Str("known_tcp_ports")) {
		// "submissions=smtps=465": all names have the port at the end.
		parts := strings.Split(item, "=")
		n, err := strconv.ParseUint(parts[len(parts)-1], 10, 16)
		if err != nil {
			continue
		}
		for _, name := range parts[:len(parts)-1] {
			known[name] = uint16(n)
		}
	}
	return func(name string) (uint16, bool) {
		if n, err := strconv.ParseUint(name, 10, 16); err == nil {
			return uint16(n), n > 0
		}
		if n, ok := known[name]; ok {
			return n, true
		}
		n, err := net.LookupPort("tcp", name)
		return uint16(n), err == nil && n > 0
	}
}

// ownAddrs are the addresses that mean this mail system: inet_interfaces and
// proxy_interfaces.
func ownAddrs(c *config.Config) ([]netip.Addr, error) {
	var own []netip.Addr
	for _, name := range config.SplitList(c.Str("inet_interfaces")) {
		switch name {
		case "all":
			list, err := net.InterfaceAddrs()
			if err != nil {
				return nil, fmt.Errorf("own network addresses: %w", err)
			}
			for _, a := range list {
				if p, err := netip.ParsePrefix(a.String()); err == nil {
					own = append(own, p.Addr().Unmap())
				}
			}
		case "loopback-only":
			own = append(own, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback())
		default:
			own = appendHost(own, name)
		}
	}
	for _, name := range config.SplitList(c.Str("proxy_interfaces")) {
		own = appendHost(own, name)
	}
	slices.SortFunc(own, netip.Addr.Compare)
	return slices.Compact(own), nil
}

// appendHost appends an address, or those of a name that can be looked up.
func appendHost(own []netip.Addr, name string) []netip.Addr {
	if addr, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return append(own, addr.Unmap())
	}
	list, _ := net.LookupHost(name) // master complains about a name that does not exist
	for _, text := range list {
		if addr, err := netip.ParseAddr(text); err == nil {
			own = append(own, addr.Unmap())
		}
	}
	return own
}
