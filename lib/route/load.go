package route

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sealpost/lib/config"
	"sealpost/lib/dns"
	"sealpost/lib/idn"
)

// LoopPort is where a server that is this one means a mail loop: behind another
// port there is a content filter or a test; 0: nowhere.
func LoopPort(lmtp bool) uint16 {
	if lmtp {
		return 0
	}
	return 25
}

// Load reads how smtp(8), or with lmtp lmtp(8), finds hosts. The resolver is the
// caller's to set.
func Load(cfg *config.Config, lmtp bool) (*Config, error) {
	prefix := prefix(lmtp)
	str := func(ending string) string { return cfg.Str(prefix + ending) }
	rc := &Config{
		IgnoreMXError: cfg.Bool("ignore_mx_lookup_error"),
		DeferNoMXAddr: cfg.Bool(prefix + "defer_if_no_mx_address_found"),
		Preference:    str("address_preference"),
		Balance:       cfg.Bool(prefix + "balance_inet_protocols"),
		AddressLimit:  cfg.Int(prefix + "mx_address_limit"),
		Randomize:     cfg.Bool(prefix + "randomize_addresses"),
		LoopPort:      LoopPort(lmtp),
		Shuffle:       rand.Shuffle,
		ASCII:         idn.ToASCII,
	}
	switch level := str("dns_support_level"); level {
	case "":
		rc.UseDNS = !cfg.Bool("disable_dns_lookups")
	case "disabled":
	case "enabled", "dnssec":
		rc.UseDNS, rc.DNSSEC = true, level == "dnssec"
	default:
		return nil, fmt.Errorf("parameter %s: %q: want disabled, enabled or dnssec", prefix+"dns_support_level", level)
	}
	for _, word := range config.SplitList(str("host_lookup")) {
		switch word {
		case "dns":
			rc.HostDNS = true
		case "native":
			rc.HostNative = true
		default:
			return nil, fmt.Errorf("parameter %s: %q: want dns or native", prefix+"host_lookup", word)
		}
	}
	if !slices.Contains([]string{"any", "ipv4", "ipv6"}, rc.Preference) {
		return nil, fmt.Errorf("parameter %s: %q: want any, ipv4 or ipv6", prefix+"address_preference", rc.Preference)
	}
	for _, word := range config.SplitList(cfg.Str("inet_protocols")) {
		rc.IPv4 = rc.IPv4 || word == "all" || word == "ipv4"
		rc.IPv6 = rc.IPv6 || word == "all" || word == "ipv6"
	}
	if !rc.IPv4 && !rc.IPv6 {
		return nil, fmt.Errorf("parameter inet_protocols: %q: want all, ipv4 or ipv6", cfg.Str("inet_protocols"))
	}
	var err error
	if rc.Self.Addrs, err = ownAddrs(cfg); err != nil {
		return nil, err
	}
	rc.Self.Name = cfg.Str("myhostname")
	if rc.Table, err = dns.LoadHosts(dns.HostsFile); err != nil {
		return nil, err
	}
	return rc, nil
}

// LoadSyntax reads what destinations are parsed with.
func LoadSyntax(cfg *config.Config, lmtp bool) (Syntax, error) {
	s := Syntax{LMTP: lmtp, Services: Services(cfg)}
	name := prefix(lmtp) + "tcp_port"
	port, ok := s.Services(cfg.Str(name))
	if !ok {
		return s, fmt.Errorf("parameter %s: unknown port %q", name, cfg.Str(name))
	}
	s.DefaultPort = port
	return s, nil
}

func prefix(lmtp bool) string {
	if lmtp {
		return "lmtp_"
	}
	return "smtp_"
}

// NewResolver asks the name servers of main.cf or of the system; with dnssec it
// wants to know what is authentic.
func NewResolver(cfg *config.Config, dnssec bool) (dns.SecureResolver, error) {
	var set dns.Settings
	if err := cfg.Decode(&set); err != nil {
		return nil, err
	}
	set.WantDNSSEC = dnssec
	return dns.New(set)
}

// Services resolves port names by known_tcp_ports, then by the system.
func Services(c *config.Config) func(string) (uint16, bool) {
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
