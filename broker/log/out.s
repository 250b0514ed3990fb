Dumping /tmp/L/clean/plain-0/00000000000000000000.index
SLF4J: Failed to load class "org.slf4j.impl.StaticLoggerBinder".
SLF4J: Defaulting to no-operation (NOP) logger implementation
SLF4J: See http://www.slf4j.org/codes.html#StaticLoggerBinder for further details.
/tmp/L/clean/plain-0/00000000000000000000.index passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000003357.index
/tmp/L/clean/plain-0/00000000000000003357.index passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000006737.index
/tmp/L/clean/plain-0/00000000000000006737.index passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000010085.index
/tmp/L/clean/plain-0/00000000000000010085.index passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000013465.index
/tmp/L/clean/plain-0/00000000000000013465.index passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000016811.index
/tmp/L/clean/plain-0/00000000000000016811.index passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000020161.index
/tmp/L/clean/plain-0/00000000000000020161.index passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000023541.index
/tmp/L/clean/plain-0/00000000000000023541.index passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000026889.index
/tmp/L/clean/plain-0/00000000000000026889.index passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000030226.index
/tmp/L/clean/plain-0/00000000000000030226.index passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000000000.timeindex
/tmp/L/clean/plain-0/00000000000000000000.timeindex passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000003357.timeindex
/tmp/L/clean/plain-0/00000000000000003357.timeindex passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000006737.timeindex
/tmp/L/clean/plain-0/00000000000000006737.timeindex passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000010085.timeindex
/tmp/L/clean/plain-0/00000000000000010085.timeindex passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000013465.timeindex
/tmp/L/clean/plain-0/00000000000000013465.timeindex passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000016811.timeindex
/tmp/L/clean/plain-0/00000000000000016811.timeindex passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000020161.timeindex
/tmp/L/clean/plain-0/00000000000000020161.timeindex passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000023541.timeindex
/tmp/L/clean/plain-0/00000000000000023541.timeindex passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000026889.timeindex
/tmp/L/clean/plain-0/00000000000000026889.timeindex passed sanity check.
Dumping /tmp/L/clean/plain-0/00000000000000030226.timeindex
/tmp/L/clean/plain-0/00000000000000030226.timeindex passed sanity check.
