package cli

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitRefused = 3 // vipd manifest migrate: kube-vip has a function that vipd lacks

	// Exit statuses of vipd status, history and doctor. A usage error must not look like an
	// answer: EX_USAGE of sysexits.h(3head).
	exitHealthy     = exitOK
	exitDegraded    = 1
	exitNoHolder    = 2
	exitUnreachable = 3
	exitAskUsage    = 64
)

// exitError ends vipd with an exit status. Without an error, no message is printed.
type exitError struct {
	error
	status int
}

func (e exitError) Unwrap() error { return e.error }

// askExits marks a command with the exit statuses of vipd status.
var askExits = map[string]string{"exit": "status"}
