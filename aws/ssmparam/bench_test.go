package ssmparam_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/fleetwright/fleetwright/aws/ssmparam"
	"github.com/fleetwright/fleetwright/parameter"
)

// BenchmarkGet compares a read with one of the bare SDK (ratio), and with a read that the cache answers (gain).
func BenchmarkGet(b *testing.B) {
	s := serve(b)
	api := s.client(b)
	plain := open(b, api, nil)
	cached := open(b, api, &ssmparam.Options{Cache: &ssmparam.Cache{}})
	if _, err := plain.PutParameter(b.Context(), put("a", "v")); err != nil {
		b.Fatal(err)
	}
	per := func(n int, f func() error) float64 {
		start := time.Now()
		for range n {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
		return float64(time.Since(start).Nanoseconds()) / float64(n)
	}
	of := func(st *ssmparam.Store) func() error {
		return func() error {
			_, err := st.GetParameter(b.Context(), parameter.GetParameterRequest{Name: "a"})
			return err
		}
	}
	for b.Loop() {
		var bare, own, kept float64
		for range 20 {
			bare += per(50, func() error {
				_, err := api.GetParameter(b.Context(), &ssm.GetParameterInput{Name: aws.String("a")})
				return err
			})
			own += per(50, of(plain))
			kept += per(50, of(cached))
		}
		b.ReportMetric(own/bare, "ratio")
		b.ReportMetric(bare/kept, "gain")
	}
}
