package main

import (
	"context"
	"slices"

	"sealpost/lib/config"
	"sealpost/lib/table"
)

// permitAuthenticated permits a client that said AUTH.
func permitAuthenticated(_ context.Context, a *access, _ *restriction) result {
	if a.s.login.user != "" {
		return result{decision: permit}
	}
	return result{}
}

// loginSubject is for check_sasl_access.
func loginSubject(a *access) subject {
	of := subject{class: classLogin, what: a.s.login.user}
	if a.s.login.user != "" {
		of.keys = []table.Key{{Text: a.s.login.user}}
	}
	return of
}

// Which senders the restrictions about smtpd_sender_login_maps are for.
const (
	loggedIn  = 1 << iota // of clients that are
	loggedOut             // of clients that are not
	unowned               // addresses that nobody owns, too
)

// senderLogin refuses a sender whose address smtpd_sender_login_maps gives to
// others than the client is. A client that may not say AUTH before STARTTLS is one
// that is not logged in.
func senderLogin(which int) func(context.Context, *access, *restriction) result {
	return func(ctx context.Context, a *access, _ *restriction) result {
		if a.s.p.auth == nil || a.sender() == "" {
			return result{} // without AUTH nobody can prove to be an owner, as in Postfix
		}
		user := a.s.login.user
		if user == "" && which&loggedOut == 0 || user != "" && which&loggedIn == 0 {
			return result{}
		}
		value, _, found, err := a.s.p.loginMaps.FindAddr(ctx, a.sender(), a.s.p.known.search)
		switch {
		case err != nil:
			return a.lookupFailure(err)
		case !found && (user == "" || which&unowned == 0):
			return result{}
		case slices.Contains(config.SplitList(value), user) && user != "":
			return result{}
		case user == "":
			return a.rejectedAs(classSender, a.sender(), 553, "5.7.1", "not logged in")
		}
		return a.rejectedAs(classSender, a.sender(), 553, "5.7.1", "not owned by user "+user)
	}
}
