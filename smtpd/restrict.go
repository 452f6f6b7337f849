package main

import (
	"context"
	"fmt"
	"strings"

	"sealpost/lib/config"
	"sealpost/lib/table"
)

// decision is what a restriction says.
type decision uint8

const (
	dunno  decision = iota // go on with the next restriction
	permit                 // go on with the next list
	reject                 // answer with code and text
)

// result of a restriction, a list or a stage.
type result struct {
	decision
	code int
	dsn  string
	text string
}

func verdict(d decision, code int, dsn, text string) result { return result{d, code, dsn, text} }

func (r result) refused() bool { return r.decision == reject }

// reply is the SMTP reply. The class of the enhanced status code follows that
// of the reply code, which can be configured.
func (r result) reply() string {
	code := itoa(int64(r.code))
	if r.dsn == "" {
		return code + " " + r.text
	}
	dsn := r.dsn
	if c := code[0]; (c == '4' || c == '5') && dsn[0] != c {
		dsn = code[:1] + dsn[1:]
	}
	return code + " " + dsn + " " + r.text
}

// class says what a restriction list is about; it is part of replies.
type class uint8

const (
	classClient class = iota
	classHelo
	classSender
	classRcpt
	classData
	classEndOfData
	classEtrn
	classCert
	classLogin
)

// classNames are followed by " rejected: ".
var classNames = [...]string{
	"Client host", "Helo command", "Sender address", "Recipient address",
	"Data command", "End-of-data", "Etrn command", "Client certificate", "SASL login name",
}

// access is one evaluation of restriction lists for one command.
type access struct {
	s     *session
	class class
	what  string // what the reply shows between angle brackets
	rcpt  string // internal form; with classRcpt
	site  string // with classEtrn
	// deferIfPermit and deferIfReject are remembered until the outcome is known.
	deferIfPermit, deferIfReject result
	warnOnly                     bool // warn_if_reject came before this restriction
}

// restriction is one element of a list that was read from main.cf.
type restriction struct {
	name string // as written
	arg  string
	run  func(ctx context.Context, a *access, r *restriction) result
	list []restriction // with a restriction class
	maps *table.Maps   // with an access table
	// policy is the service of check_policy_service.
	policy *policyService
}

// A restrictionRow describes a restriction by its name. Rows of access tables,
// DNS lists, policy services, SASL and TLS are rows like these: a function and
// the number of arguments that follow the name.
type restrictionRow struct {
	name string
	args int
	run  func(ctx context.Context, a *access, r *restriction) result
	// table: the argument is an access table.
	table bool
	// service: the argument is a policy service.
	service bool
	// relay: a list with this restriction does not make an open relay.
	relay bool
}

// findRestriction finds a row. Old names that Postfix still takes are known too.
func findRestriction(name string) (restrictionRow, bool) {
	if newName, ok := oldNames[strings.ToLower(name)]; ok {
		name = newName
	}
	for _, row := range restrictionTable() {
		if strings.EqualFold(row.name, name) {
			return row, true
		}
	}
	return restrictionRow{}, false
}

var oldNames = map[string]string{
	"reject_unknown_client":           "reject_unknown_client_hostname",
	"reject_invalid_hostname":         "reject_invalid_helo_hostname",
	"reject_non_fqdn_hostname":        "reject_non_fqdn_helo_hostname",
	"reject_unknown_hostname":         "reject_unknown_helo_hostname",
	"reject_unknown_address":          "reject_unknown_sender_domain",
	"check_relay_domains":             "reject_unauth_destination",
	"reject_unknown_helo_domain":      "reject_unknown_helo_hostname",
	"reject_unknown_reverse_hostname": "reject_unknown_reverse_client_hostname",
}

// compiler reads restriction lists.
type compiler struct {
	config  *config.Config
	classes map[string]string // name and value of restriction classes
	open    func(param, spec string) *table.Maps
	warnf   func(format string, args ...any)
}

func newCompiler(c *config.Config, names []string, open func(param, spec string) *table.Maps, warnf func(string, ...any)) (*compiler, error) {
	k := &compiler{config: c, classes: map[string]string{}, open: open, warnf: warnf}
	for _, name := range names {
		value, err := c.Expand("$" + name)
		if err != nil {
			return nil, fmt.Errorf("parameter smtpd_restriction_classes: %s: %w", name, err)
		}
		k.classes[strings.ToLower(name)] = value
	}
	return k, nil
}

// list reads the value of a parameter. What is not known becomes a restriction
// that refuses with 451 4.3.5, and a warning names it now and whenever it is met.
func (k *compiler) list(param, value string) ([]restriction, error) {
	return k.words(param, config.SplitList(value), 0)
}

const maxClassDepth = 20

func (k *compiler) words(param string, words []string, depth int) ([]restriction, error) {
	if depth > maxClassDepth {
		return nil, fmt.Errorf("parameter %s: restriction classes refer to each other", param)
	}
	var list []restriction
	for len(words) > 0 {
		name := words[0]
		words = words[1:]
		if value, ok := k.classes[strings.ToLower(name)]; ok {
			inner, err := k.words(param, config.SplitList(value), depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, restriction{name: name, run: runClass, list: inner})
			continue
		}
		row, ok := findRestriction(name)
		if !ok {
			k.warnf("parameter %s: unknown smtpd restriction: %q; mail will be refused with 451 4.3.5", param, name)
			list = append(list, restriction{name: name, run: unknownRestriction})
			continue
		}
		if len(words) < row.args {
			k.warnf("parameter %s: restriction %s needs an argument after it", param, name)
			list = append(list, restriction{name: name, run: misconfigured})
			continue
		}
		r := restriction{name: row.name, run: row.run}
		if row.args > 0 {
			r.arg, words = words[0], words[row.args:]
		}
		if row.table {
			r.maps = k.open(param, r.arg)
		}
		if row.service {
			p, err := newPolicyService(k.config, r.arg)
			if err != nil {
				k.warnf("parameter %s: check_policy_service: %v; mail will be refused with 451 4.3.5", param, err)
				r.run = misconfigured
			}
			r.policy = p
		}
		list = append(list, r)
	}
	return list, nil
}

func unknownRestriction(_ context.Context, a *access, r *restriction) result {
	a.s.log.Warnf("unknown smtpd restriction: %q", r.name)
	return configError()
}

func misconfigured(_ context.Context, a *access, r *restriction) result {
	a.s.log.Warnf("restriction %s lacks its argument, or it makes no sense: %s", r.name, r.arg)
	return configError()
}

func configError() result { return verdict(reject, 451, "4.3.5", "Server configuration error") }

func runClass(ctx context.Context, a *access, r *restriction) result { return a.run(ctx, r.list) }

// protects reports whether the lists have a restriction that keeps strangers
// from relaying.
func protects(lists ...[]restriction) bool {
	for _, list := range lists {
		for i := range list {
			if list[i].list != nil && protects(list[i].list) {
				return true
			}
			if row, ok := findRestriction(list[i].name); ok && row.relay {
				return true
			}
		}
	}
	return false
}

// run evaluates one list.
func (a *access) run(ctx context.Context, list []restriction) result {
	for i := range list {
		r := &list[i]
		out := r.run(ctx, a, r)
		if a.s.log.Verbosity() > 0 && out.decision != dunno {
			a.s.log.Verbosef("%s: %s: %s for <%s>", a.s.client.text, r.name, decisionNames[out.decision], a.what)
		}
		if a.warnOnly && r.name != "warn_if_reject" {
			a.warnOnly = false
			if out.refused() {
				a.log("reject_warning", out)
				out = result{}
			}
		}
		if out.decision != dunno {
			return out
		}
	}
	return result{}
}

var decisionNames = [...]string{"no decision", "permit", "reject"}

func (a *access) log(action string, r result) {
	var rcpt *string
	if a.class == classRcpt {
		rcpt = &a.rcpt
	}
	a.s.logAction(action, a.s.softened(r.reply()), rcpt)
}

// finish applies what was remembered to the outcome of all lists.
func (a *access) finish(r result) result {
	if r.refused() {
		if a.deferIfReject.refused() && r.code >= 500 {
			return a.deferIfReject
		}
		return r
	}
	if a.deferIfPermit.refused() {
		return a.deferIfPermit
	}
	return r
}

// rejected makes the usual reply: <WHAT>: CLASS rejected: text.
func (a *access) rejected(code int, dsn, text string) result {
	return a.rejectedAs(a.class, a.what, code, dsn, text)
}

func (a *access) rejectedAs(c class, what string, code int, dsn, text string) result {
	return verdict(reject, code, dsn, "<"+what+">: "+classNames[c]+" rejected: "+text)
}

// tempfail defers, at once or in case the request would be permitted.
func (a *access) tempfail(action string, r result) result {
	if action == "defer" {
		return r
	}
	if !a.deferIfPermit.refused() && !a.warnOnly {
		a.deferIfPermit = r
	}
	return result{}
}
