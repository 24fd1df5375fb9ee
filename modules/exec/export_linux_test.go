package exec

var (
	EndAll  = processes.endAll
	IsAlive = isAlive
)
