# make build     all programs into bin/
# make run       two instances exchange one message on this machine: start here
# make serve     one instance in the foreground, until interrupted
# make test      all tests (TESTFLAGS=-race, PKG=./smtpd/... narrow it down)
# make interop   tests with other mail software, where it is installed
# make test-root  the tests that "make test", which steps down from root, leaves out
# make bench     figures against a peer measured in the same run
# make fuzz      every fuzz target, FUZZTIME inputs each
# make man       manual pages from the package comments into docs/man
# make check     gofmt, vet and staticcheck
# make install    what "make build" made, into the system (DESTDIR=DIR: below DIR)
# make uninstall  without the configuration, the queue and the log
# make clean

GO        ?= go
PKG       ?= ./...
TESTFLAGS ?= -shuffle=on
FUZZTIME  ?= 200000x
BENCHFLAGS ?=
INTEROPFLAGS ?=
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
export CGO_ENABLED ?= 0

# Where "make install" puts things; a path that is not the default goes into the new
# main.cf. Set-gid programs read /etc/sealpost and nothing else.
DESTDIR     ?=
prefix       = /usr
sbindir      = $(prefix)/sbin
bindir       = $(prefix)/bin
daemondir    = $(prefix)/libexec/sealpost
mandir       = $(prefix)/share/man
docdir       = $(prefix)/share/doc/sealpost
unitdir      = /etc/systemd/system
mail_owner   = sealpost
setgid_group = sealdrop
PROGRAMS = $(sort $(ROLES) $(foreach l,$(LINKS),$(firstword $(subst :, ,$l))))
INSTALL = $(foreach v,PROGRAMS DESTDIR prefix sbindir bindir daemondir mandir docdir unitdir mail_owner setgid_group,$(v)='$($(v))') sh conf/install.sh

# A role of the mail system is a top-level directory with a main package.
ROLES := $(shell grep -l '^package main$$' */*.go | xargs -n1 dirname | sort -u)

# Programs that go by a second name.
LINKS = discard:error lmtp:smtp mailq:sendmail newaliases:sendmail postalias:postmap postfix:sealpost

# The helpers are built and run, not run by "go run", which would not pass on
# signals.
UNPRIV = bin/tools/unpriv

.PHONY: build tools run serve test test-root bench interop man man-check fuzz vet fmt staticcheck check install uninstall clean

build:
	@mkdir -p bin
	$(GO) build -trimpath -o bin/ $(addprefix ./,$(ROLES))
	@for l in $(LINKS); do ln -sf $${l##*:} bin/$${l%%:*}; done

tools: build
	@$(GO) build -o bin/tools/ ./test/unpriv ./test/run ./test/interop ./test/bench

run: tools
	@$(UNPRIV) exec bin/tools/run

serve: tools
	@$(UNPRIV) exec bin/tools/run -serve

test: tools
	@GO="$(GO)" $(UNPRIV) test $(TESTFLAGS) $(PKG)

ROOT_TESTS = TestAsAnotherUser|TestInAnotherRoot|TestStart|TestUsersDeliverAsTheOwner|TestConfine|TestAnotherUserReachesTwoSockets
test-root:
	@out=$$($(GO) test -count=1 -v -run '^($(ROOT_TESTS))$$' ./lib/command ./pipe ./lib/mailbox ./lib/service ./test 2>&1) || { echo "$$out"; exit 1; }; \
	echo "$$out" | grep -E '^(--- |ok|FAIL)|SKIP'; \
	for name in $(subst |, ,$(ROOT_TESTS)); do \
		echo "$$out" | grep -q -e "^--- [A-Z]*: $$name " || { echo "there is no test $$name"; exit 1; }; \
	done

interop: tools
	@bin/tools/interop $(INTEROPFLAGS)

bench: tools
	@bin/tools/bench $(BENCHFLAGS)

fuzz:
	GO="$(GO)" FUZZTIME="$(FUZZTIME)" sh test/fuzz.sh $(PKG)

man:
	$(GO) run ./docs/mkman -o docs/man $(ROLES)

# Whether docs/man is what "make man" makes.
man-check:
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && \
	$(GO) run ./docs/mkman -o "$$out" $(ROLES) && diff -r docs/man "$$out" || \
	{ echo "docs/man is not up to date: run make man"; exit 1; }

fmt:
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "not formatted:"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet $(PKG)

# It is no part of the module: without a module proxy it may not be there.
staticcheck:
	@if $(GO) run $(STATICCHECK) -version >/dev/null 2>&1; \
	then echo "$(GO) run $(STATICCHECK) $(PKG)"; $(GO) run $(STATICCHECK) $(PKG); \
	else echo "SKIP: $(STATICCHECK) cannot be downloaded and built"; fi

check: fmt vet staticcheck

# Not after "build": root need not have a Go compiler.
install:
	@$(INSTALL) install

uninstall:
	@$(INSTALL) uninstall

clean:
	rm -rf bin run
