package tlspolicy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"sealpost/lib/config"
	"sealpost/lib/dane"
	"sealpost/lib/dns"
	"sealpost/lib/table"
)

// Settings are the parameters of smtp_... or lmtp_...; names of fields are the
// ends of the parameters' names.
type Settings struct {
	Prefix string // "smtp_" or "lmtp_"

	SecurityLevel                       string // tls_security_level; "" for the legacy parameters
	UseTLS, EnforceTLS, EnforcePeername bool
	WrapperMode                         bool

	VerifyMatch, SecureMatch []string // strategies and names
	Fingerprints             []string
	Digest                   string
	Ciphers, MandatoryCiphers, Protocols, MandatoryProtocols,
	Exclude, MandatoryExclude string
	TrustAnchors []string
	ServerName   string
	Reuse        bool
	RawKeys      bool

	InsecureMX         string // smtp_tls_dane_insecure_mx_policy: may, encrypt, dane
	ForceInsecureTLSA  bool   // tls_force_insecure_host_tlsa_lookup
	DANEDigests        string // tls_dane_digests
	DNSSEC             bool   // dns_support_level = dnssec, and host_lookup has dns
	IgnoreMXError      bool   // ignore_mx_lookup_error
	Probe              string // dnssec_probe
	EnforceSTSPatterns bool
	CNAMEOverrides     bool // cname_overrides_servername
	MultiLabelWildcard bool // tls_wildcard_matches_multiple_labels
}

// Load reads the settings of smtp(8), or with lmtp those of lmtp(8). The error
// names the parameter.
func Load(c *config.Config, lmtp bool) (Settings, error) {
	prefix := "smtp_"
	if lmtp {
		prefix = "lmtp_"
	}
	str := func(name string) string { return c.Str(prefix + name) }
	yes := func(name string) bool { return c.Bool(prefix + name) }
	s := Settings{
		Prefix:             prefix,
		SecurityLevel:      str("tls_security_level"),
		UseTLS:             yes("use_tls"),
		EnforceTLS:         yes("enforce_tls"),
		EnforcePeername:    yes("tls_enforce_peername"),
		WrapperMode:        yes("tls_wrappermode"),
		VerifyMatch:        splitColons(str("tls_verify_cert_match")),
		SecureMatch:        splitColons(str("tls_secure_cert_match")),
		Fingerprints:       config.SplitList(str("tls_fingerprint_cert_match")),
		Digest:             str("tls_fingerprint_digest"),
		Ciphers:            str("tls_ciphers"),
		MandatoryCiphers:   str("tls_mandatory_ciphers"),
		Protocols:          str("tls_protocols"),
		MandatoryProtocols: str("tls_mandatory_protocols"),
		Exclude:            str("tls_exclude_ciphers"),
		MandatoryExclude:   str("tls_mandatory_exclude_ciphers"),
		TrustAnchors:       config.SplitList(str("tls_trust_anchor_file")),
		ServerName:         str("tls_servername"),
		Reuse:              yes("tls_connection_reuse"),
		RawKeys:            yes("tls_enable_rpk"),
		InsecureMX:         c.Str("smtp_tls_dane_insecure_mx_policy"),
		ForceInsecureTLSA:  yes("tls_force_insecure_host_tlsa_lookup"),
		DANEDigests:        c.Str("tls_dane_digests"),
		DNSSEC:             str("dns_support_level") == "dnssec" && slices.Contains(config.SplitList(str("host_lookup")), "dns"),
		IgnoreMXError:      c.Bool("ignore_mx_lookup_error"),
		Probe:              c.Str("dnssec_probe"),
		EnforceSTSPatterns: yes("tls_enforce_sts_mx_patterns"),
		CNAMEOverrides:     yes("cname_overrides_servername"),
		MultiLabelWildcard: c.Bool("tls_wildcard_matches_multiple_labels"),
	}
	return s, s.check()
}

// splitColons splits a list that may have ":" between its words too.
func splitColons(text string) []string {
	return config.SplitList(strings.ReplaceAll(text, ":", " "))
}

// check finds what no destination could be served with.
func (s *Settings) check() error {
	var errs []error
	bad := func(name, value, want string) {
		errs = append(errs, fmt.Errorf("parameter %s: %q: want %s", name, value, want))
	}
	if _, ok := ParseLevel(s.SecurityLevel); !ok && s.SecurityLevel != "" {
		bad(s.Prefix+"tls_security_level", s.SecurityLevel, strings.Join(levelsToConfigure(), ", "))
	}
	if !slices.Contains([]string{"may", "encrypt", "dane"}, s.InsecureMX) {
		bad("smtp_tls_dane_insecure_mx_policy", s.InsecureMX, "may, encrypt or dane")
	}
	if _, err := dane.ParseDigests(s.DANEDigests); err != nil {
		errs = append(errs, fmt.Errorf("parameter tls_dane_digests: %w", err))
	}
	if s.Probe != "" {
		if _, _, err := dns.ParseProbe(s.Probe); err != nil {
			errs = append(errs, fmt.Errorf("parameter dnssec_probe: %w", err))
		}
	}
	return errors.Join(errs...)
}

func levelsToConfigure() []string {
	return slices.DeleteFunc(slices.Clone(levelNames[:]), func(name string) bool { return name == HalfDANE.String() })
}

// Source gives policies. Safe for concurrent use.
type Source struct {
	set      Settings
	resolver dns.SecureResolver
	maps     *table.Maps // tls_policy_maps
	perSite  *table.Maps // tls_per_site
	digests  dane.Digests
	probed   atomic.Bool // dnssec_probe was sent, or an answer was validated
}

// Tables are the opened tables of a Source; nil where a parameter is empty.
type Tables struct{ PolicyMaps, PerSite *table.Maps }

// New makes a Source. The resolver may be nil when no level is dane or dane-only.
func New(s Settings, tables Tables, resolver dns.SecureResolver) *Source {
	digests, _ := dane.ParseDigests(s.DANEDigests) // without any, DANE is not supported
	return &Source{set: s, resolver: resolver, maps: tables.PolicyMaps, perSite: tables.PerSite, digests: digests}
}

// Open loads settings and opens tables: before the daemon drops its rights.
func Open(c *config.Config, lmtp bool, env table.Env, resolver dns.SecureResolver) (*Source, error) {
	s, err := Load(c, lmtp)
	if err != nil {
		return nil, err
	}
	open := func(ending string) *table.Maps {
		return table.OpenMaps(env, s.Prefix+ending, c.Str(s.Prefix+ending))
	}
	return New(s, Tables{open("tls_policy_maps"), open("tls_per_site")}, resolver), nil
}

// Files are the files to watch for changes.
func (s *Source) Files() []string { return slices.Concat(s.maps.Files(), s.perSite.Files()) }

// Close closes the tables.
func (s *Source) Close() error { return errors.Join(s.maps.Close(), s.perSite.Close()) }
