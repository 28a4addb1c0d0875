"""Numbers that messages about several things share.

Source: include/linux/socket.h, include/uapi/linux/rtnetlink.h, if.h, if_arp.h, if_link.h.
"""

AF_INET, AF_INET6, AF_BRIDGE = 2, 10, 7
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST = 0, 253, 254  # how far an address or a route is valid
IFF_UP, IFF_BROADCAST, IFF_LOOPBACK, IFF_MULTICAST, IFF_LOWER_UP = 0x1, 0x2, 0x8, 0x1000, 0x10000
ARPHRD_ETHER = 1
VETH_INFO_PEER = 1


class IFLA:
    """Attributes of a link (IFLA_*), of its kind (IFLA_INFO_*) and of its settings per address family."""

    ADDRESS, IFNAME, MTU, LINK, MASTER, PROTINFO, TXQLEN, OPERSTATE, LINKINFO = 1, 3, 4, 5, 10, 12, 13, 16, 18
    IFALIAS, STATS64, AF_SPEC, GROUP, NET_NS_FD, EXT_MASK, NUM_TX_QUEUES, CARRIER = 20, 23, 26, 27, 28, 29, 31, 33
    LINK_NETNSID, NEW_IFINDEX, PROP_LIST, ALT_IFNAME, NETNS_IMMUTABLE = 37, 49, 52, 53, 67
    INFO_KIND, INFO_DATA, INFO_SLAVE_KIND, INFO_SLAVE_DATA = 1, 2, 4, 5
    INET_CONF, INET6_CONF = 1, 2
