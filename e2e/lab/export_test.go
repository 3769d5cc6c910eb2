package lab

// For tests in package lab_test.
const VipdGroup = vipdGroup

var (
	HangUp    = hangUp
	CloseIdle = closeIdle
)
