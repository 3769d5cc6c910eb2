// Package logging provides vipd's log, which never blocks the writer.
package logging

import (
	"io"
	"os"
	"os/signal"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/vipd-io/vipd/internal/config"
)

// New returns a logger that writes to w, and sends client-go's log there, too. The level can be
// changed at any time.
func New(c config.Config, w io.Writer) (*zap.Logger, zap.AtomicLevel, error) {
	level, err := zap.ParseAtomicLevel(c.LogLevel)
	if err != nil {
		return nil, level, err
	}
	var encoder zapcore.Encoder
	if c.LogFormat == "console" {
		e := zap.NewDevelopmentEncoderConfig()
		e.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		e.EncodeDuration = zapcore.StringDurationEncoder
		encoder = zapcore.NewConsoleEncoder(e)
	} else {
		e := zap.NewProductionEncoderConfig()
		e.EncodeTime = zapcore.RFC3339NanoTimeEncoder
		e.EncodeDuration = zapcore.SecondsDurationEncoder
		encoder = zapcore.NewJSONEncoder(e)
	}
	log := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(w), level))
	// What client-go logs below warnings, vipd logs in its own terms.
	klog.SetLogger(zapr.NewLogger(log.Named("client-go").WithOptions(zap.IncreaseLevel(zapcore.WarnLevel))))
	return log, level, nil
}

// FollowSignals sets the log level to debug at SIGUSR1, and back to the configured level at
// SIGUSR2, until stop is called. Signals need no access control: a process that may send them may
// end vipd as well.
func FollowSignals(level zap.AtomicLevel, log *zap.Logger) (stop func()) {
	configured := level.Level()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGUSR1, unix.SIGUSR2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range signals {
			to := configured
			if s == unix.SIGUSR1 {
				to = zap.DebugLevel
			}
			level.SetLevel(zap.InfoLevel) // so that the next line is logged at any level
			log.Info("log level changed", zap.Stringer("to", to))
			level.SetLevel(to)
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}
