package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/ready"
)

// The list must name exactly the plugins linked in, in the order in which a query passes them.
func runCoreDNS() {
	dnsserver.Directives = []string{"bind", "errors", "ready", "cache", "loadbalance", "kubernetes"}
	coremain.Run()
}
