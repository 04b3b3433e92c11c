#!/usr/bin/env bash
# The network of fixtures/scenarios/set-up.yaml as one would script it: `ip` for three nodes on a bridge and three pods
# behind them, `iptables-restore` for the service's DNAT. Prints the microseconds it took to set up.
# Run within throw-away namespaces: unshare --user --map-root-user --net --mount
set -euo pipefail
mount -t tmpfs tmpfs /run
start=$EPOCHREALTIME

ip netns add fabric
ip -n fabric link set lo up
ip -n fabric link add fabric type bridge stp_state 0 forward_delay 0 mcast_snooping 0
ip -n fabric link set fabric up

for n in 1 2 3; do
  ip netns add node$n
  ip -n fabric link add node$n type veth peer name eth0 netns node$n
  ip -n fabric link set node$n master fabric up
  ip -n node$n link set lo up
  ip -n node$n link set eth0 up
  ip -n node$n address add 10.0.0.$n/24 dev eth0
  ip -n node$n address add fd00:10::$n/64 dev eth0 nodad
  ip netns exec node$n sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
done

for n in 1 2 3; do
  ip netns add pod$n
  ip -n node$n link add pod1 type veth peer name eth0 netns pod$n
  ip -n node$n link set pod1 up
  ip -n node$n address add 192.168.$n.1/32 dev pod1
  ip -n node$n address add fd00:192:168:$n::1/128 dev pod1 nodad
  ip -n node$n route add 192.168.$n.2/32 dev pod1
  ip -n node$n route add fd00:192:168:$n::2/128 dev pod1
  ip -n pod$n link set lo up
  ip -n pod$n link set eth0 up
  ip -n pod$n address add 192.168.$n.2/32 dev eth0
  ip -n pod$n address add fd00:192:168:$n::2/128 dev eth0 nodad
  ip -n pod$n route add 192.168.$n.1/32 dev eth0
  ip -n pod$n route add default via 192.168.$n.1 dev eth0 onlink
  ip -n pod$n route add fd00:192:168:$n::1/128 dev eth0
  ip -n pod$n route add default via fd00:192:168:$n::1 dev eth0 onlink
  for other in 1 2 3; do
    [ $other = $n ] && continue
    ip -n node$n route add 192.168.$other.0/24 via 10.0.0.$other
    ip -n node$n route add fd00:192:168:$other::/64 via fd00:10::$other
  done
done

XTABLES_LOCKFILE=/run/xtables.lock ip netns exec node1 iptables-restore --noflush <<'RULES'
*nat
:KUBE-SERVICES - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SVC-ECHO - [0:0]
:KUBE-SEP-ECHO-1 - [0:0]
:KUBE-SEP-ECHO-2 - [0:0]
-I PREROUTING -j KUBE-SERVICES
-I OUTPUT -j KUBE-SERVICES
-I POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-SERVICES -d 192.168.255.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-ECHO
-A KUBE-SVC-ECHO -m statistic --mode random --probability 0.5 -j KUBE-SEP-ECHO-1
-A KUBE-SVC-ECHO -j KUBE-SEP-ECHO-2
-A KUBE-SEP-ECHO-1 -s 192.168.3.2/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-ECHO-1 -p tcp -m tcp -j DNAT --to-destination 192.168.3.2:80
-A KUBE-SEP-ECHO-2 -s 192.168.2.2/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-ECHO-2 -p tcp -m tcp -j DNAT --to-destination 192.168.2.2:80
COMMIT
RULES

end=$EPOCHREALTIME
echo $((${end/./} - ${start/./}))
