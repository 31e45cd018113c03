"""How fast it is, beside its peers: ``python -m benchmarks``, or ``xsock bench``.

Three kinds of processes. The *program under test* does the work in one of many ways, as a
server or as a client; it is a fresh process for each measurement. The *load generator* is the
other side, the same for all. This process directs them: in each round every contender does
all work once, for each workload in random order, so that what else the machine does meets all
of them; a ratio is the median over the rounds of what two contenders did in the same round.
Compared is the CPU time of the program under test, unless the workload says otherwise.

A map, bottom to top:

=====================  ==================================================================
``wire``               messages between the processes
``control`` ``forge``  the program under test: its orders and marks; how it is made
``programs``           what the contenders do, a module for each
``load`` ``loads``     the load generator, and what it does
``contenders``         who is compared
``workload(s)``        what is done, and what is compared
``processes``          the processes seen from here
``runner``             the rounds
``statistics``         medians, spreads, ratios
``results``            all samples, as rows and as JSON
``table`` ``matrix``   what is printed
``svg``                the plot
``command``            the command line
``web``                apart from all this: HTTP, under the load of the program wrk
=====================  ==================================================================

To add a contender write a module in ``programs`` and a line in ``contenders``. To add a kind
of workload (UDP, TLS) write one module with its loads, the programs of all contenders and its
``Workload`` objects (see ``Workload.module``), and join those to ``workloads.WORKLOADS``.
"""
