package parameter

type hub struct{}
