package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sealpost/lib/address"
	"sealpost/lib/config"
	"sealpost/lib/dns"
	"sealpost/lib/mailclient"
	"sealpost/lib/mailproto"
	"sealpost/lib/rewrite"
	"sealpost/lib/sasl"
	"sealpost/lib/service"
	"sealpost/lib/table"
	"sealpost/lib/tlsconn"
)

// server is what the sessions of a worker share. What comes from outside comes
// in as fields, so that tests can bring their own.
type server struct {
	env            *service.Env
	normal, stress *profile

	now       func() time.Time
	dns       dns.Resolver
	hosts     hostNames
	resolver  func(ctx context.Context, sender, addr string) (rewrite.Resolved, error)
	malformed func(addr string) bool
	openQueue func(ctx context.Context, flags mailproto.CleanupFlags) (queueWriter, error)
	post      func(ctx context.Context, p mailclient.Post) (queueWriter, error) // mail of our own
	flushPath string
	spoolDir  string // of messages that wait for a filter

	drains drains
	space  diskSpace
	own    []netip.Addr // addresses of this host
	double string       // double_bounce_sender
	files  []string
}

// profile is a configuration with its tables: for normal times, or for stress.
type profile struct {
	*settings
	restrictions struct {
		client, helo, sender, relay, recipient, data, endOfData, etrn []restriction
		rewriteClients                                                []restriction
	}
	known        knownTables
	mynetworks   *table.List
	bareLFExempt *table.List
	connExempt   *table.List
	forbidden    *table.List
	// xclientHosts and xforwardHosts may speak for others.
	xclientHosts, xforwardHosts *table.List
	discardMaps                 *table.Maps
	clientCerts                 *table.Maps
	tls                         *tlsEngine
	auth                        *authEngine
	proxy                       *proxyEngine
	loginMaps                   *table.Maps
	autoUTF8                    bool
	compiler                    *compiler // for restrictions that access tables name
	// accessParents: a key of an access table stands for the names below it too.
	accessParents bool
	notify        problems
}

// errOpenRelay is what Init says about lists that let everybody relay.
var errOpenRelay = errors.New("in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one working instance of: reject_unauth_destination, defer_unauth_destination, reject, defer or defer_if_permit")

// newServer opens what the worker needs.
func newServer(env *service.Env) (*server, error) {
	srv := &server{env: env, now: time.Now, spoolDir: spoolDir}
	srv.space = diskSpace{dir: ".", now: time.Now, read: statfs}
	tables := &opener{env: table.Env{Warnf: env.Log.Warnf}, lists: map[string]*table.List{}, maps: map[string]*table.Maps{}}
	rewriter, err := rewrite.New(env.Config, tables.env)
	if err != nil {
		return nil, err
	}
	srv.resolver, srv.malformed = rewriter.Resolve, rewriter.Malformed
	tables.local = func(domain string) bool {
		bare, err := rewriter.BareUsers(context.Background(), domain)
		return err == nil && bare
	}
	if tables.tickets, err = newTickets(env); err != nil {
		return nil, err
	}
	if srv.normal, err = newProfile(env.Config, tables, env.Log.Warnf); err != nil {
		return nil, err
	}
	quiet := func(string, ...any) {} // the same lists were warned about above
	if srv.stress, err = newProfile(env.Stress, tables, quiet); err != nil {
		return nil, fmt.Errorf("with stress=yes: %w", err)
	}
	srv.files = append(tables.files(), rewriter.Files()...)
	if srv.dns, err = dns.New(srv.normal.dns); err != nil {
		return nil, err
	}
	if srv.hosts, err = loadHostNames(dns.HostsFile); err != nil {
		return nil, err
	}
	if srv.own, err = ownAddresses(); err != nil {
		return nil, err
	}
	srv.double = env.Config.Str("double_bounce_sender")
	cleanupPath := servicePath(mailproto.PathCleanup, srv.normal.CleanupService)
	srv.flushPath = servicePath(mailproto.PathFlush, srv.normal.FlushService)
	if env.StandAlone {
		postdrop := env.Config.Str("command_directory") + "/postdrop"
		srv.openQueue = func(ctx context.Context, _ mailproto.CleanupFlags) (queueWriter, error) {
			return mailclient.OpenSubmission(ctx, postdrop, env.Config.Dir())
		}
		return srv, nil
	}
	srv.post = func(ctx context.Context, p mailclient.Post) (queueWriter, error) {
		return mailclient.PostMail(ctx, cleanupPath, p)
	}
	srv.openQueue = func(ctx context.Context, flags mailproto.CleanupFlags) (queueWriter, error) {
		q, err := mailclient.DialCleanup(ctx, cleanupPath, flags)
		if err != nil {
			return nil, err
		}
		return q, nil
	}
	return srv, nil
}

// servicePath replaces the last part of a socket's path.
func servicePath(path, name string) string {
	return path[:strings.LastIndexByte(path, '/')+1] + name
}

// ownAddresses are the addresses of this host's interfaces.
func ownAddresses() ([]netip.Addr, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of this host: %w", err)
	}
	var own []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, p.Addr().Unmap())
		}
	}
	return own, nil
}

func (srv *server) ownAddress(addr netip.Addr) bool {
	return slices.Contains(srv.own, addr.WithZone(""))
}

// isDoubleBounce reports the sender of double bounces and probes, which exists
// without being in a table.
func (srv *server) isDoubleBounce(addr string) bool {
	local, _ := address.Split(addr)
	return strings.EqualFold(local, srv.double)
}

// rewritesLocally: the client is one of local_header_rewrite_clients.
func (s *session) rewritesLocally(ctx context.Context) bool {
	a := &access{s: s, class: classClient, what: s.client.text}
	return s.standAlone || a.run(ctx, s.p.restrictions.rewriteClients).decision == permit
}

// rewriteContext is the context of a message that is local, or not.
func rewriteContext(local bool) string {
	if local {
		return string(rewrite.LocalContext)
	}
	return string(rewrite.RemoteContext)
}

// opener opens each table once, also when two profiles use it.
type opener struct {
	env   table.Env
	local func(domain string) bool
	lists map[string]*table.List
	maps  map[string]*table.Maps
	seen  []string
	auth  map[string]sasl.Service // by path

	tickets *tlsconn.Tickets
	// settleBy is when a key that does not belong to its certificate is an error.
	settleBy time.Time
}

func (o *opener) list(param, spec string, kind table.Kind, parents bool) (*table.List, error) {
	key := param + "\x00" + spec
	if l, ok := o.lists[key]; ok {
		return l, nil
	}
	l, err := table.OpenList(o.env, param, spec, kind, parents)
	if err != nil {
		return nil, err
	}
	o.lists[key] = l
	o.seen = append(o.seen, l.Files()...)
	return l, nil
}

func (o *opener) mapsOf(param, spec string) *table.Maps {
	key := param + "\x00" + spec
	if m, ok := o.maps[key]; ok {
		return m
	}
	m := table.OpenMaps(o.env, param, spec)
	o.maps[key] = m
	o.seen = append(o.seen, m.Files()...)
	return m
}

func (o *opener) files() []string {
	slices.Sort(o.seen)
	return slices.Compact(o.seen)
}

// newProfile reads one configuration.
func newProfile(c *config.Config, o *opener, warnf func(string, ...any)) (*profile, error) {
	s, err := decode(c)
	if err != nil {
		return nil, err
	}
	p := &profile{settings: s, notify: parseProblems(s.NotifyClasses, warnf)}
	if err := p.compile(c, o, warnf); err != nil {
		return nil, err
	}
	if !protects(p.restrictions.relay, p.restrictions.recipient) {
		return nil, errOpenRelay
	}
	p.accessParents = slices.Contains(c.List("parent_domain_matches_subdomains"), "smtpd_access_maps")
	if err := p.openLists(o, c.List("parent_domain_matches_subdomains")); err != nil {
		return nil, err
	}
	r := &s.recipientSet
	p.discardMaps = o.mapsOf("smtpd_discard_ehlo_keyword_address_maps", s.DiscardMaps)
	p.known = knownTables{
		canonical:     o.mapsOf("canonical_maps", r.CanonicalMaps),
		rcptCanonical: o.mapsOf("recipient_canonical_maps", r.RcptCanonicalMaps),
		sndrCanonical: o.mapsOf("sender_canonical_maps", r.SndrCanonicalMaps),
		alias:         o.mapsOf("virtual_alias_maps", r.AliasMaps),
		local:         o.mapsOf("local_recipient_maps", r.LocalMaps),
		relay:         o.mapsOf("relay_recipient_maps", r.RelayMaps),
		mailbox:       o.mapsOf("virtual_mailbox_maps", r.MailboxMaps),
		search:        table.AddrSearch{Delimiters: r.Delimiters, LocalDomain: o.local},
	}
	p.clientCerts = o.mapsOf("relay_clientcerts", s.ClientCerts)
	p.loginMaps = o.mapsOf("smtpd_sender_login_maps", s.sasl.LoginMaps)
	if p.auth, err = newAuthEngine(&s.sasl, o); err != nil {
		return nil, err
	}
	if p.proxy, err = newProxyEngine(&s.proxy); err != nil {
		return nil, err
	}
	if p.tls, err = newTLSEngine(&s.starttls, o, o.tickets, warnf); err != nil {
		return nil, err
	}
	p.autoUTF8 = s.SMTPUTF8 && (slices.Contains(s.AutoUTF8Classes, "smtpd") || slices.Contains(s.AutoUTF8Classes, "all"))
	return p, nil
}

func (p *profile) compile(c *config.Config, o *opener, warnf func(string, ...any)) error {
	k, err := newCompiler(c, p.lists.Classes, o.mapsOf, warnf)
	if err != nil {
		return err
	}
	p.compiler = k
	for _, l := range []struct {
		param, value string
		dst          *[]restriction
	}{
		{"smtpd_client_restrictions", p.lists.Client, &p.restrictions.client},
		{"smtpd_helo_restrictions", p.lists.Helo, &p.restrictions.helo},
		{"smtpd_sender_restrictions", p.lists.Sender, &p.restrictions.sender},
		{"smtpd_relay_restrictions", p.lists.Relay, &p.restrictions.relay},
		{"smtpd_recipient_restrictions", p.lists.Recipient, &p.restrictions.recipient},
		{"smtpd_data_restrictions", p.lists.Data, &p.restrictions.data},
		{"smtpd_end_of_data_restrictions", p.lists.EndOfData, &p.restrictions.endOfData},
		{"smtpd_etrn_restrictions", p.lists.ETRN, &p.restrictions.etrn},
		{"local_header_rewrite_clients", strings.Join(p.RewriteClients, " "), &p.restrictions.rewriteClients},
	} {
		if *l.dst, err = k.list(l.param, l.value); err != nil {
			return err
		}
	}
	return nil
}

// openLists opens match lists. parents are the parameters in which the name of a
// domain stands for the hosts below it, too.
func (p *profile) openLists(o *opener, parents []string) error {
	for _, l := range []struct {
		param, value string
		kind         table.Kind
		dst          **table.List
		as           string // the parameter that it is in parents
	}{
		{"mynetworks", p.MyNetworks, table.Hosts, &p.mynetworks, "mynetworks"},
		{"smtpd_forbid_bare_newline_exclusions", p.BareLFExclusions, table.Hosts, &p.bareLFExempt, "mynetworks"},
		{"smtpd_client_event_limit_exceptions", p.ConnExceptions, table.Hosts, &p.connExempt, "mynetworks"},
		{"smtpd_authorized_xclient_hosts", p.XClientHosts, table.Hosts, &p.xclientHosts, "smtpd_authorized_xclient_hosts"},
		{"smtpd_authorized_xforward_hosts", p.XForwardHosts, table.Hosts, &p.xforwardHosts, "smtpd_authorized_xforward_hosts"},
		{"smtpd_forbidden_commands", p.ForbiddenCmds, table.Strings, &p.forbidden, ""},
	} {
		list, err := o.list(l.param, l.value, l.kind, slices.Contains(parents, l.as))
		if err != nil {
			return err
		}
		*l.dst = list
	}
	return nil
}
