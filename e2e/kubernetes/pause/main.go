// The container that holds a pod's namespaces: it waits to be stopped, and as pid 1 of pods that share
// their process namespace lets the kernel reap orphans (an ignored SIGCHLD does that).
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signal.Ignore(syscall.SIGCHLD)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}
