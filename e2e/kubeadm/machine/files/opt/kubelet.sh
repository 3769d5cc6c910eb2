#!/bin/sh
# Runs kubelet once kubeadm has configured it, and again when it ends, as the unit
# of kubeadm's packages does (10-kubeadm.conf).
while true; do
	if [ -s /var/lib/kubelet/config.yaml ] && [ -s /var/lib/kubelet/kubeadm-flags.env ]; then
		. /var/lib/kubelet/kubeadm-flags.env
		. /etc/default/kubelet
		# The arguments are several words.
		# shellcheck disable=SC2086
		kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \
			--config=/var/lib/kubelet/config.yaml --config-dir=/etc/kubelet.conf.d $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
	fi
	sleep 0.3
done
