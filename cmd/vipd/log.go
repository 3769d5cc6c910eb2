package main

import (
	"io"
	"os"
	"os/signal"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/vipd-io/vipd/pkg/config"
)

// newLogger writes to w, and makes client-go's own lines part of it. The level can
// be changed while it is used.
func newLogger(c config.Config, w io.Writer) (*zap.Logger, zap.AtomicLevel, error) {
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
	// client-go says at its own level what is a state of ours already.
	klog.SetLogger(zapr.NewLogger(log.Named("client-go").WithOptions(zap.IncreaseLevel(zapcore.WarnLevel))))
	return log, level, nil
}

// followSignals makes the log say more at SIGUSR1, and what was configured again at
// SIGUSR2, until stop is called. A signal is no way in that would have to be guarded:
// who may send it may end vipd, too.
func followSignals(level zap.AtomicLevel, log *zap.Logger) (stop func()) {
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
			level.SetLevel(zap.InfoLevel) // for this line, whatever it is otherwise
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
